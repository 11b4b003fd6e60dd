"""How long ranks wait for their input: spans of kind `data`, by rank and second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SECOND = 1_000_000_000
BINS = 64
"""Seconds kept; fewer than the longest stretch that is judged, and it is judged by less."""


class Inputs:
    """Waits for input of one job's ranks; arrays are seconds by ranks (row = second modulo `BINS`)."""

    def __init__(self) -> None:
        self._second: Ints = np.full(BINS, -1, np.int64)
        self._waited = np.zeros((BINS, 0))

    def take(self, rank: Ints, began: Ints, ended: Ints) -> None:
        """Take finished waits: by whom and from when to when, ns; a wait counts for the second it ended in."""
        if not len(rank):
            return
        more = int(rank.max()) + 1 - self._waited.shape[1]
        if more > 0:
            self._waited = np.concatenate([self._waited, np.zeros((BINS, more))], axis=1)
        second = ended // SECOND
        for s in np.unique(second):
            if self._second[s % BINS] < s:
                self._second[s % BINS], self._waited[s % BINS] = s, 0
        live = self._second[second % BINS] == second
        np.add.at(self._waited, ((second % BINS)[live], rank[live]), (ended - began)[live])

    def shares(self, since: int, until: int) -> Floats | None:
        """Return per rank the share of time waited between two times (Unix ns); None without any span there."""
        wanted = np.arange(since // SECOND, until // SECOND + 1)[-BINS:]
        held = self._second[wanted % BINS] == wanted
        if not held.any() or until <= since:
            return None
        waited: Floats = self._waited[wanted[held] % BINS].sum(axis=0) / (until - since)
        return waited
