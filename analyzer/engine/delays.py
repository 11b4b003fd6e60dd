"""The delay matrix: what each edge needs on the wire for a byte, now and while the job was healthy.

In a ring one slow edge starves everybody behind it: waits for the GPU and for the peer move everywhere, the time on the
wire only on the edge (Mycroft, SOSP'25; C4, HPCA'25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.columns import NONE, ints
from offbeat.analyzer.engine.normal import held_back
from offbeat.analyzer.engine.stalls import sent

if TYPE_CHECKING:
    import pyarrow as pa

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SECOND = 1_000_000_000
BINS = 64
"""Seconds kept; fewer than the longest stretch that is judged, and it is judged by less."""
SUMMARIES = 24
"""Healthy stretches remembered."""
FEWER = 0.5
"""Share of the healthy traffic below which an edge is not judged."""
OLDEST, CREPT = 6, 1.02
"""Stretches that make the origin, and how far the usual may move away from it."""
EXCUSED = 2.0
"""By how many times an edge's seconds may differ more than they did, as far as that makes it uncertain."""
LEARNED = 2
"""Healthy stretches before anything counts as normal."""
ENOUGH = 4
"""Seconds with data from which they tell how much seconds differ."""
RANKS = 1 << 24


class Delays:
    """Transfers of one job by edge and second; arrays are seconds by edges (row = second modulo `BINS`)."""

    def __init__(self) -> None:
        self.edges: list[tuple[int, int]] = []
        self.newest = 0
        """The newest second with any transfer."""
        self._number: dict[int, int] = {}
        self._second: Ints = np.full(BINS, -1, np.int64)
        self._wire, self._bytes, self._count = (np.zeros((BINS, 0)) for _ in range(3))
        self._waiting: list[Floats] = []
        self._first: list[Floats] = []
        """The oldest healthy stretches: what creeps takes the newer ones with it."""
        self._normal: list[Floats] = []
        self._unsteady: list[Floats] = []
        """Per healthy stretch and edge, by what share its seconds differ: of few transfers they do by more."""
        self._moved: Floats = np.zeros(0)
        """Per edge the bytes a second of its busiest healthy stretch."""

    def take(self, table: pa.Table) -> None:
        """Take rows of the `transfers` table, ranks resolved.

        Only those of the sending side: a receiver cannot tell the wire from its wait for the sender.
        """
        src, dst, nbytes = ints(table, "src"), ints(table, "dst"), ints(table, "nbytes")
        began, ended, wire = ints(table, "started_at"), ints(table, "ended_at"), ints(table, "wire_ns")
        waits = np.maximum(ints(table, "gpu_wait_ns"), 0) + np.maximum(ints(table, "credit_wait_ns"), 0)
        wire = np.where(wire != NONE, wire, ended - began - waits)
        good = sent(table) & (src >= 0) & (dst >= 0) & (ended > 0) & (nbytes > 0) & (wire >= 0)
        if not good.any():
            return
        edge = self._edges_of(src[good] * RANKS + dst[good])
        second = ended[good] // SECOND
        self.newest = max(self.newest, int(second.max()))
        row = second % BINS
        for s in np.unique(second):
            if self._second[s % BINS] < s:
                self._second[s % BINS] = s
                self._wire[s % BINS], self._bytes[s % BINS], self._count[s % BINS] = 0, 0, 0
        live = self._second[row] == second
        np.add.at(self._wire, (row[live], edge[live]), wire[good][live])
        np.add.at(self._bytes, (row[live], edge[live]), nbytes[good][live])
        np.add.at(self._count, (row[live], edge[live]), 1)

    def _edges_of(self, keys: Ints) -> Ints:
        distinct, inverse = np.unique(keys, return_inverse=True)
        for key in distinct:
            if int(key) not in self._number:
                self._number[int(key)] = len(self.edges)
                self.edges.append((int(key) // RANKS, int(key) % RANKS))
        more = len(self.edges) - self._wire.shape[1]
        if more:
            self._wire, self._bytes, self._count = (
                np.concatenate([a, np.zeros((BINS, more))], axis=1) for a in (self._wire, self._bytes, self._count)
            )
        return np.array([self._number[int(k)] for k in distinct], np.int64)[inverse.reshape(-1)]

    def now(self, seconds: int) -> Floats:
        """Return per edge the typical time on the wire a byte over the newest *seconds*, ns.

        NaN where there is no data, or clearly less than in healthy times: after a pause a few transfers speak for all.
        """
        each, moved = self._over(seconds)
        few = np.concatenate([self._moved, np.zeros(len(moved) - len(self._moved))]) * FEWER
        return np.where(moved >= few, robust.median(each), np.nan)

    def _over(self, seconds: int) -> tuple[Floats, Floats]:
        """Return (ns a byte by second and edge, bytes a second by edge)."""
        # The newest second is still being filled.
        wanted = np.arange(self.newest - seconds, self.newest)
        row = wanted % BINS
        held = (self._second[row] == wanted)[:, None] & (self._bytes[row] > 0)
        each = np.where(held, self._wire[row] / np.maximum(self._bytes[row], 1), np.nan)
        return each, np.where(held, self._bytes[row], 0.0).sum(axis=0) / seconds

    def learn(self, seconds: int) -> None:
        """Add the newest *seconds* to what is normal; call only while the job is healthy."""
        if not self.edges:
            return
        each, moved = self._over(seconds)
        self._waiting.append(robust.median(each))
        while len(self._waiting) > held_back(len(self._waiting) + len(self._normal)):
            settled = self._waiting.pop(0)
            self._first = [*self._first, settled][:OLDEST]
            self._normal = [*self._normal, settled][-SUMMARIES:]
        self._moved = np.maximum(np.concatenate([self._moved, np.zeros(len(moved) - len(self._moved))]), moved)
        with np.errstate(invalid="ignore", divide="ignore"):
            unsteady = robust.spread(each) / robust.median(each)
        unsteady = np.where(np.isfinite(each).sum(axis=0) >= ENOUGH, unsteady, np.nan)
        if np.isfinite(unsteady).any():
            self._unsteady = [*self._unsteady, unsteady][-SUMMARIES:]

    def doubt(self) -> None:
        """Drop the stretches held back: something is wrong, and it may have begun in them."""
        if len(self._normal) >= LEARNED:
            self._waiting = []

    def normal(self, seconds: int) -> tuple[Floats, Floats] | None:
        """Return (usual, error) by edge, or None while little is known.

        Args:
            seconds: Over how many seconds the present is looked at.

        Returns:
            The healthy time on the wire a byte, ns; and by what share of it the present may differ by chance (standard
            deviation, of a median of *seconds* values, and of the usual one itself).
        """
        known = self._normal if len(self._normal) >= LEARNED else [*self._normal, *self._waiting]
        if len(known) < LEARNED or not self._unsteady:
            return None
        stack = self._stack(known)
        usual = robust.median(stack)
        if self._first:
            usual = np.fmin(usual, CREPT * robust.median(self._stack(self._first)))
        by_chance = robust.MEDIAN * self._seconds_differ(seconds) / np.sqrt(seconds)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.fmax(robust.scatter(stack) / usual, by_chance)
        return usual, error * np.sqrt(1 + 1 / np.maximum(np.isfinite(stack).sum(axis=0), 1))

    def _seconds_differ(self, seconds: int) -> Floats:
        """Return per edge by what share its seconds differ: as they did, or more if they do so now.

        None is taken to be steadier than the typical edge with as many transfers a second, the fewer the unsteadier.
        """
        own = robust.median(self._stack(self._unsteady))
        before = np.fmax(own, np.nanmedian(own) if np.isfinite(own).any() else 0.0)
        often = self._count.sum(axis=0) / np.maximum((self._count > 0).sum(axis=0), 1)
        kind = np.round(np.log2(np.maximum(often, 1)))
        for one in np.unique(kind):
            mine = (kind == one) & np.isfinite(own)
            if mine.any():
                before[kind == one] = np.fmax(before[kind == one], np.median(own[mine]))
        each, _ = self._over(seconds)
        with np.errstate(invalid="ignore", divide="ignore"):
            now = robust.spread(each) / robust.median(each)
        # Not without end: what comes and goes would excuse itself.
        return np.fmax(before, np.fmin(now, EXCUSED * before))

    def _stack(self, stretches: list[Floats]) -> Floats:
        count = len(self.edges)
        return np.stack([np.concatenate([n, np.full(count - len(n), np.nan)]) for n in stretches])
