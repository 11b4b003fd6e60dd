"""Transfers that stand still: posted to the network, and not done.

Of a transfer that starves nothing was posted: the peer is not ready, or the data is not there (the table of counters in
Mycroft, SOSP'25). Only the sending side can tell: whoever receives waits for whatever holds up the sender.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.analyzer.engine.columns import ints, words

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]

_COLUMNS = ("comm", "seq", "channel", "src", "dst", "steps_posted", "steps_done")


def sent(table: pa.Table) -> Any:
    """Return which rows of `transfers` were measured by the side that sends."""
    sides, side = words(table, "side")
    return np.array([word != "recv" for word in sides], bool)[side] if sides else np.zeros(0, bool)


class Stalls:
    """The newest transfer under way of each edge and channel."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int, int | None], tuple[int, bool]] = {}

    def take(self, table: pa.Table) -> None:
        """Take rows of the `transfers` table, ranks resolved."""
        mine, ended = sent(table), ints(table, "ended_at") > 0
        if self._open and (mine & ended).any():
            self._end(table.filter(pa.array(mine & ended)))
        for row in table.filter(pa.array(mine & ~ended)).select(_COLUMNS).to_pylist():
            posted, done = row["steps_posted"], row["steps_done"]
            if None not in {row["src"], row["dst"], posted, done}:
                self._open[row["comm"], row["src"], row["dst"], row["channel"]] = (row["seq"], posted > done)

    def _end(self, over: pa.Table) -> None:
        comms, comm = words(over, "comm")
        newest: dict[tuple[str, int, int], int] = {}
        for k, src, dst, seq in zip(*(a.tolist() for a in (comm, *_ints(over, "src", "dst", "seq"))), strict=True):
            edge = (comms[k], src, dst)
            newest[edge] = max(newest.get(edge, -1), seq)
        self._open = {
            (word, src, dst, channel): value
            for (word, src, dst, channel), value in self._open.items()
            if newest.get((word, src, dst), -1) < value[0]
        }

    def edges(self, comms: set[str]) -> set[tuple[int, int]]:
        """Return the edges of some communicators whose newest transfer was posted and does not get done."""
        return {(src, dst) for (comm, src, dst, _), (_, stuck) in self._open.items() if comm in comms and stuck}


def _ints(table: pa.Table, *names: str) -> list[Ints]:
    return [ints(table, name) for name in names]
