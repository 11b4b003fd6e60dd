"""Cycles: a communicator's operations folded by its beat, one figure a cycle instead of one an operation.

A cycle is a whole number of periods of the beat. Only operations that all members have left are folded, and each once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from offbeat.analyzer.engine.family import Family

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

KEPT = 256
"""Cycles kept; fewer than the longest stretch that is judged, and it is judged by less."""


class Cycles:
    """The newest cycles of the communicators of one family.

    Arrays are cycles by communicators (row = cycle modulo `KEPT`), `depart` and `inside` by members too.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._room = 0
        self.length: Ints = np.zeros(0, np.int64)
        """Per communicator the operations of a cycle, 0 while no beat is known."""
        self.anchor: Ints = np.zeros(0, np.int64)
        self.newest: Ints = np.zeros(0, np.int64)
        """Per communicator the newest cycle that is whole, -1 without any."""
        self._fit()

    def _fit(self) -> None:
        more = self._family.room - self._room
        if not more:
            return
        self._room = self._family.room
        size = self._family.size

        def wide(old: Any, fill: float, *rest: int) -> Any:
            added = np.full((KEPT, more, *rest), fill, old.dtype if old is not None else np.float64)
            return added if old is None else np.concatenate([old, added], axis=1)

        fresh = not hasattr(self, "number")
        names = ("number", "folded", "transfer", "began", "depart", "inside")
        old = {n: None if fresh else getattr(self, n) for n in names}
        self.number = wide(old["number"], -1)
        """Which cycle a row holds."""
        self.folded = wide(old["folded"], 0)
        """How many operations of it are folded."""
        self.transfer = wide(old["transfer"], 0)
        """Sum over operations of the shortest time inside: whoever came last waited for nobody, ns."""
        self.began = wide(old["began"], 0)
        """When the typical member entered its first operation, ns."""
        self.depart = wide(old["depart"], 0, size)
        """By how much a member left after the typical one, summed, ns; holds clock offsets, so only changes count."""
        self.inside = wide(old["inside"], 0, size)
        """Time inside, waiting included, ns."""
        for name, fill in (("length", 0), ("anchor", 0), ("newest", -1)):
            held = getattr(self, name)
            setattr(self, name, np.concatenate([held, np.full(more, fill, np.int64)]))

    def set_beat(self, comm: int, length: int, anchor: int) -> None:
        """Fold communicator *comm* by cycles of *length* operations from now on; its old cycles are dropped."""
        self._fit()
        self.length[comm], self.anchor[comm], self.newest[comm] = length, anchor, -1
        self.number[:, comm] = -1
        self._family.folded[:, comm] = False

    def fold(self) -> None:
        """Fold the operations that were completed since the last call."""
        self._fit()
        family, n = self._family, self._family.count
        ready = family.complete() & ~family.folded[:, :n] & (self.length[:n] > 0)
        rows, comms = np.nonzero(ready)
        if not len(rows):
            return
        family.folded[rows, comms] = True
        seq = family.seq[rows, comms]
        enter, leave = family.enter[rows, comms], family.leave[rows, comms]
        inside = (leave - enter).astype(np.float64)
        moving = (leave - np.maximum(enter, self._freed(seq, comms))).astype(np.float64)
        depart = leave - np.median(leave, axis=1, keepdims=True)
        phase = (seq - self.anchor[comms]) % self.length[comms]
        cycle = (seq - self.anchor[comms] - phase) // self.length[comms]
        slot = cycle % KEPT
        self._renew(slot, comms, cycle)
        live = self.number[slot, comms] == cycle
        slot, comms, cycle = slot[live], comms[live], cycle[live]
        np.add.at(self.folded, (slot, comms), 1)
        np.add.at(self.transfer, (slot, comms), moving[live].min(axis=1))
        np.add.at(self.depart, (slot, comms), depart[live])
        np.add.at(self.inside, (slot, comms), inside[live])
        first = phase[live] == 0
        self.began[slot[first], comms[first]] = np.median(enter[live][first], axis=1)
        whole = self.folded[slot, comms] >= self.length[comms]
        np.maximum.at(self.newest, comms[whole], cycle[whole])

    def _freed(self, seq: Ints, comms: Ints) -> Ints:
        """Return when members had left the operation before: one launched earlier queues behind it."""
        row = (seq - 1) % self._family.capacity
        held = self._family.seq[row, comms] == seq - 1
        return np.where(held[:, None], self._family.leave[row, comms], 0)

    def _renew(self, slot: Ints, comms: Ints, cycle: Ints) -> None:
        fresh = self.number[slot, comms] < cycle
        if not fresh.any():
            return
        newest = np.full((KEPT, self._room), -1, np.int64)
        np.maximum.at(newest, (slot[fresh], comms[fresh]), cycle[fresh])
        k, c = np.nonzero(newest >= 0)
        self.number[k, c] = newest[k, c]
        for values in (self.folded, self.transfer, self.began):
            values[k, c] = 0
        self.depart[k, c], self.inside[k, c] = 0, 0

    def newest_of(self, comms: Ints, count: int) -> tuple[Ints, Any]:
        """Return (rows, whole): where the newest *count* cycles of *comms* are, oldest first, and which are whole.

        Both are cycles by communicators.
        """
        cycle = self.newest[comms][None, :] - np.arange(count - 1, -1, -1)[:, None]
        slot = cycle % KEPT
        held = (cycle >= 0) & (self.number[slot, comms] == cycle) & (self.folded[slot, comms] >= self.length[comms])
        return slot, held
