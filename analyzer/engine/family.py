"""The windows of all communicators of one size, side by side, so that thousands are folded in one step.

Rows are sequence numbers (row = seq modulo capacity), then communicators, then members. Times are Unix nanoseconds of
each member's own host, 0 where nothing is known; they are never compared across members of different hosts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]

CELLS = 1 << 22
"""Bound on cells kept a family; without it many large communicators take all memory."""
SLOTS, LEAST_SLOTS = 2048, 64
"""Most and fewest sequence numbers kept; the beat of an iteration longer than a quarter of this is not found."""

KEPT = ("seq", "enter", "leave", "seen", "signature", "folded", "entries", "ends")
"""What is carried over when a family grows."""


class Places(NamedTuple):
    """Operations by where they go: communicator and member (column) of the family, and sequence number."""

    comm: Ints
    column: Ints
    seq: Ints


class Family:
    """The windows of the communicators with `size` members."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.top: Ints = np.zeros(0, np.int64)
        """Per communicator the newest sequence number, -1 without any."""
        self.entered: Ints = np.full((1, size), -1, np.int64)
        """Per communicator and member, the newest sequence number it entered."""
        self._allocate(1, SLOTS)

    def _allocate(self, room: int, capacity: int) -> None:
        shape = (capacity, room, self.size)
        self.capacity, self.room = capacity, room
        self.seq: Ints = np.full(shape[:2], -1, np.int64)
        self.enter: Ints = np.zeros(shape, np.int64)
        self.leave: Ints = np.zeros(shape, np.int64)
        self.seen: Ints = np.zeros(shape, np.int64)
        self.signature = np.full(shape, -1, np.int32)
        self.entries, self.ends = np.zeros(shape[:2], np.int32), np.zeros(shape[:2], np.int32)
        """How many members have entered, and left, an operation."""
        self.folded = np.zeros(shape[:2], bool)
        """Rows that are in the iterations already."""

    def new(self) -> int:
        """Make place for one more communicator; return its number."""
        if self.count == self.room:
            self._grow()
        self.count += 1
        self.top = np.append(self.top, -1)
        return self.count - 1

    def _grow(self) -> None:
        room = 2 * self.room
        capacity = SLOTS
        while capacity > LEAST_SLOTS and capacity * room * self.size > CELLS:
            capacity //= 2
        capacity = min(capacity, self.capacity)
        old = {name: getattr(self, name) for name in KEPT}
        self._allocate(room, capacity)
        k, c = np.nonzero(old["seq"] > np.where(self.top > 0, self.top, 0)[None, : old["seq"].shape[1]] - capacity)
        held = old["seq"][k, c]
        k, c, held = k[held >= 0], c[held >= 0], held[held >= 0]
        for name, values in old.items():
            getattr(self, name)[held % capacity, c] = values[k, c]
        self.entered = np.concatenate([self.entered, np.full_like(self.entered, -1)])

    def add(self, at: Places, enter: Ints, leave: Ints, seen: Ints, signature: Ints) -> tuple[Any, Any]:
        """Take operations, each (communicator, member, seq) at most once; of several copies an end is final.

        Returns:
            Which of them were entered, and which were left, as was not known before.
        """
        np.maximum.at(self.top, at.comm, at.seq)
        row = at.seq % self.capacity
        fresh = self.seq[row, at.comm] < at.seq
        if fresh.any():
            newest = np.full((self.capacity, self.count), -1, np.int64)
            np.maximum.at(newest, (row[fresh], at.comm[fresh]), at.seq[fresh])
            k, c = np.nonzero(newest >= 0)
            self.seq[k, c] = newest[k, c]
            self.enter[k, c], self.leave[k, c], self.seen[k, c], self.signature[k, c] = 0, 0, 0, -1
            self.folded[k, c], self.entries[k, c], self.ends[k, c] = False, 0, 0
        was = (row, at.comm, at.column)
        live = self.seq[row, at.comm] == at.seq
        new = live & (self.enter[was] == 0)
        ended = live & (leave > 0) & (self.leave[was] == 0)
        # An end is final: a late copy of the open row must not undo it.
        live &= ~((self.leave[was] > 0) & (leave <= 0))
        cell = (row[live], at.comm[live], at.column[live])
        self.enter[cell], self.leave[cell] = enter[live], np.maximum(leave[live], 0)
        self.seen[cell], self.signature[cell] = seen[live], signature[live]
        np.maximum.at(self.entered, (at.comm, at.column), at.seq)
        np.add.at(self.entries, (row[new], at.comm[new]), 1)
        np.add.at(self.ends, (row[ended], at.comm[ended]), 1)
        return new, ended

    def complete(self) -> Any:
        """Return, rows by communicators, which operations every member has left."""
        return self.ends[:, : self.count] == self.size

    def waiting(self) -> Any:
        """Return per communicator whether any operation is entered and not left."""
        return (self.entries[:, : self.count] > self.ends[:, : self.count]).any(axis=0)
