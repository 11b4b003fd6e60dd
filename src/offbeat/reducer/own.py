"""Own times: what passed between a rank's last event, an operation entered or left, and the operation it enters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]


class OwnTimes:
    """Own times of ranks, from their operations in all communicators, sends and receives included.

    A rank's own time before an operation is what passed between its last event (an operation entered or left) and
    its entry. While it is inside one operation alone it waits or transfers, and that is not its own; an operation that
    is still under way when the next is entered overlaps with computing, and the rank did not wait for it.
    """

    def __init__(self) -> None:
        self._last: Ints = np.zeros(0, np.int64)

    def take(self, entered: tuple[Ints, Ints], ended: tuple[Ints, Ints]) -> Events:
        """Take the next events of some ranks; what came before is remembered.

        Args:
            entered: Rank and time (ns of the rank's host) of each operation entered since the last call.
            ended: Rank and time of each operation that ended since then.

        Returns:
            The events in the order of (rank, time), with the own time before each.
        """
        rank = np.concatenate([entered[0], ended[0]])
        at = np.concatenate([entered[1], ended[1]])
        self._fit(int(rank.max(initial=-1)) + 1)
        # At equal times an end comes first: what was entered at that moment followed it.
        starts = np.concatenate([np.ones(len(entered[0]), bool), np.zeros(len(ended[0]), bool)])
        order = np.lexsort((starts, at, rank))
        rank, at = rank[order], at[order]
        first = np.concatenate([[True], rank[1:] != rank[:-1]])[: len(rank)]
        before = np.concatenate([[0], at[:-1]])[: len(at)]
        known = self._last[rank]
        before = np.where(first, known, np.maximum(before, known))
        own = np.where(before > 0, np.maximum(at - before, 0), 0)
        np.maximum.at(self._last, rank, at)
        return Events(order, rank, at, own, len(entered[0]))

    def _fit(self, ranks: int) -> None:
        if ranks > len(self._last):
            self._last = np.concatenate([self._last, np.zeros(max(ranks, 2 * len(self._last)) - len(self._last), int)])


class Events:
    """Entries and ends of some ranks in the order of (rank, time)."""

    def __init__(self, order: Ints, rank: Ints, at: Ints, own: Ints, entries: int) -> None:
        self.order, self.rank, self.at = order, rank, at
        self.own = np.where(order < entries, own, 0)
        """Per event, ns; 0 at ends."""
        self._entries = entries

    def own_of_entries(self) -> Ints:
        """Return own times in the order in which entries were given."""
        out = np.empty(len(self.order), np.int64)
        out[self.order] = self.own
        return out[: self._entries]
