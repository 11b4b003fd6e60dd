"""Steps: per rank and iteration of the job, how long it was busy by itself and how long it was inside operations.

A rank's step begins where it enters the first operation of a cycle of its marker: of its communicators the one whose
cycle is longest. All its operations until the next step count, whatever communicator they are in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.analyzer.engine import robust

if TYPE_CHECKING:
    from offbeat.reducer import Events

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

KEPT = 256
"""Steps kept; fewer than the longest stretch that is judged, and it is judged by less."""
REPORTED = 0.1
"""Share of ranks that may lag behind with their reports; with none, one silent agent stops all judging."""


class Stretch(NamedTuple):
    """Some steps in a row, steps by ranks; NaN where a rank did not report a step whole. Times in ns."""

    own: Floats
    wait: Floats
    began: Floats
    length: Floats
    """Per step, by the typical rank."""
    last: int
    """Number of the newest step."""

    def tail(self, count: int) -> Stretch:
        """Return the newest *count* steps."""
        k = slice(-count, None)
        return Stretch(self.own[k], self.wait[k], self.began[k], self.length[k], self.last)


class Steps:
    """The newest steps of all ranks of one job; arrays are steps by ranks (row = step modulo `KEPT`)."""

    def __init__(self) -> None:
        self._number: Ints = np.full((KEPT, 0), -1, np.int64)
        self._own, self._wait, self._began = (np.zeros((KEPT, 0)) for _ in range(3))
        self.newest: Ints = np.zeros(0, np.int64)
        """Per rank the step it is in, -1 before its first."""

    def fit(self, ranks: int) -> None:
        """Make place for ranks 0..*ranks* - 1."""
        more = ranks - len(self.newest)
        if more <= 0:
            return
        self._number = np.concatenate([self._number, np.full((KEPT, more), -1, np.int64)], axis=1)
        self._own, self._wait, self._began = (
            np.concatenate([a, np.zeros((KEPT, more))], axis=1) for a in (self._own, self._wait, self._began)
        )
        self.newest = np.concatenate([self.newest, np.full(more, -1, np.int64)])

    def restart(self, ranks: Ints) -> None:
        """Forget the steps of *ranks*: their marker changed."""
        self._number[:, ranks], self.newest[ranks] = -1, -1

    def take(self, events: Events, mark: Ints, wait: Ints) -> None:
        """Take the next events of some ranks.

        Args:
            events: Entries and ends in the order of (rank, time).
            mark: Per event the number of the step that begins with it, -1 for none.
            wait: Per event that is an end, how long the rank was inside, ns; else 0.
        """
        if not len(events.rank):
            return
        self.fit(int(events.rank.max()) + 1)
        rank, place = events.rank, np.arange(len(events.rank))
        first = np.concatenate([[True], rank[1:] != rank[:-1]])
        step = np.where(mark >= 0, mark, np.where(first, self.newest[rank], -1))
        step = step[np.maximum.accumulate(np.where((mark >= 0) | first, place, 0))]
        np.maximum.at(self.newest, rank, step)
        inside = step >= 0
        rank, step, row = rank[inside], step[inside], step[inside] % KEPT
        self._renew(row, rank, step)
        live = self._number[row, rank] == step
        at = (row[live], rank[live])
        np.add.at(self._own, at, events.own[inside][live])
        np.add.at(self._wait, at, wait[inside][live])
        begins = (mark[inside] >= 0) & live
        self._began[row[begins], rank[begins]] = events.at[inside][begins]

    def _renew(self, row: Ints, rank: Ints, step: Ints) -> None:
        fresh = self._number[row, rank] < step
        if fresh.any():
            row, rank, step = row[fresh], rank[fresh], step[fresh]
            np.maximum.at(self._number, (row, rank), step)
            for values in (self._own, self._wait, self._began):
                values[row, rank] = 0

    def frontier(self) -> int:
        """Return the newest step that nearly all ranks have finished, -1 for none."""
        active = self.newest[self.newest >= 0]
        return int(np.sort(active)[int(REPORTED * len(active))]) - 1 if len(active) else -1

    def stretch(self, count: int) -> Stretch | None:
        """Return the newest *count* steps that nearly all ranks have finished, None with fewer than two."""
        last = self.frontier()
        count = min(count, last, KEPT - 2)
        if count < 2:
            return None
        number = np.arange(last - count + 1, last + 2)
        row = number % KEPT
        held = self._number[row] == number[:, None]
        whole = held[:-1] & (self.newest[None, :] > number[:-1, None])
        length = np.where(held[1:] & whole, np.diff(self._began[row], axis=0), np.nan)
        known = np.isfinite(length).any(axis=1)
        typical = robust.median(length.T)
        own, wait, began = (np.where(whole, a[row[:-1]], np.nan) for a in (self._own, self._wait, self._began))
        # What came before a gap (a new marker, lost reports) belongs to another stretch.
        begin = int(np.max(np.nonzero(~known)[0], initial=-1)) + 1
        return Stretch(own[begin:], wait[begin:], began[begin:], typical[begin:], last) if count - begin >= 2 else None
