"""Sent less often, not less: tables whose rows hardly differ from one second to the next cost little more in pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLED = frozenset({"edges", "gauges", "samples"})
"""Samples of what is slow to change; a second row of a connection compresses to a tenth of the first."""
HOLD_NS = 1_500_000_000
"""How long they are held at least, two flushes in effect; longer saves more, and tells of the network later."""


class Holding:
    """Holds some tables back for a while."""

    def __init__(self) -> None:
        self._held: dict[str, list[pa.Table]] = {}
        self._since = 0

    def take(self, tables: Mapping[str, pa.Table], now: int, *, everything: bool) -> dict[str, pa.Table]:
        """Return what is to be sent at *now* (ns) of *tables* and of what is held; *everything*, if it must be."""
        out = {name: table for name, table in tables.items() if name not in SAMPLED}
        for name in SAMPLED & tables.keys():
            self._since = self._since or now
            self._held.setdefault(name, []).append(tables[name])
        if everything or (self._since and now - self._since >= HOLD_NS):
            out |= {name: pa.concat_tables(parts) for name, parts in self._held.items()}
            self._held, self._since = {}, 0
        return out
