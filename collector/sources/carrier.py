"""Links that go down and come back: `carrier_lost` and `carrier_found` events within one poll."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.collector.interfaces import Interfaces


class CarrierSource:
    """Events of device kind `nic`; an interface that is gone has lost its carrier."""

    name = "carrier"
    sampled = False

    def __init__(
        self,
        host: str,
        watched: Interfaces,
        *,
        carrier: Callable[[str], bool | None],
        clock: Clock = time.time_ns,
    ) -> None:
        """Look at the interfaces of *watched*; *carrier* tells of one by name, None if gone."""
        self._host = host
        self._watched = watched
        self._carrier = carrier
        self._clock = clock
        self._last: dict[str, bool] = {}

    def is_supported(self) -> bool:
        """Say yes: every Linux has interfaces."""
        return True

    def read(self) -> dict[str, pa.Table]:
        """Return the changes; the first look at an interface is none.

        Raises:
            NoData: Nothing changed.
        """
        events = Events(self._host)
        for name in self._watched.names():
            link = bool(self._carrier(name))
            if link != self._last.setdefault(name, link):
                kind = "carrier_found" if link else "carrier_lost"
                events.add(self._clock(), kind, device_kind="nic", device_id=name)
                self._last[name] = link
        if not events:
            raise NoData
        return {"events": events.table()}
