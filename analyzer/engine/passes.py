"""Forward and backward passes that the program tells of: how long each takes a rank, step by step.

The length of its sequences makes both passes of a rank longer alike; a sick machine, a collection of garbage or a
loader does not (arXiv 2505.05713: correlation of 0.9 and more).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

KEPT = 64
"""Steps kept; fewer than the longest stretch that is judged, and it is judged by less."""
KINDS = ("forward", "backward")
ENOUGH = 8
"""Steps with both passes from which a correlation says anything."""


class Passes:
    """Lengths of passes; arrays are steps by ranks (row = step modulo `KEPT`) by kind."""

    def __init__(self) -> None:
        self._step: Ints = np.full(KEPT, -1, np.int64)
        self._took = np.zeros((KEPT, 0, len(KINDS)))

    def take(self, kind: Ints, rank: Ints, step: Ints, took: Ints) -> None:
        """Take finished passes: kind as in `KINDS`, whose, of which step, and how long (ns)."""
        if not len(rank):
            return
        more = int(rank.max()) + 1 - self._took.shape[1]
        if more > 0:
            self._took = np.concatenate([self._took, np.zeros((KEPT, more, len(KINDS)))], axis=1)
        for s in np.unique(step):
            if self._step[s % KEPT] < s:
                self._step[s % KEPT], self._took[s % KEPT] = s, 0
        live = self._step[step % KEPT] == step
        np.add.at(self._took, ((step % KEPT)[live], rank[live], kind[live]), took[live])

    def correlation(self) -> float | None:
        """Return how forward and backward of a rank go together from step to step; None where nobody tells of both."""
        # The newest step is still being filled.
        rows = np.nonzero((self._step >= 0) & (self._step < self._step.max(initial=-1)))[0]
        took = self._took[rows]
        both = np.asarray((took > 0).all(axis=2))
        if (both.sum(axis=0) >= ENOUGH).sum() < 2:
            return None
        told = np.where(both[:, :, None], took, np.nan)
        sides = [_left(told[:, :, k]) for k in range(len(KINDS))]
        known = np.isfinite(sides[0]) & np.isfinite(sides[1])
        forward, backward = (side[known] for side in sides)
        scale = float(np.sqrt((forward**2).sum() * (backward**2).sum()))
        return float((forward * backward).sum()) / scale if scale else None


def _left(took: Floats) -> Floats:
    """Return what is left of the lengths without what is typical of the rank, and of the step."""
    left = took - robust.median(took)
    return left - robust.median(left.T)[:, None]
