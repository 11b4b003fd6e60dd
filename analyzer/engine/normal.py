"""What was normal: typical figures of a job while it was healthy, stretch by stretch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from offbeat.analyzer.engine import robust

Floats = np.ndarray[Any, np.dtype[np.float64]]

KEPT = 40
"""Healthy stretches remembered; when there are more, every other one goes, so that a fault that creeps cannot push the
healthy time out of memory."""
LEARNED = 3
"""Stretches before anything counts as normal; the first ones hold the job's own start."""
SETTLE, HELD_BACK = 4, 1 / 3
"""Stretches held back before they count as normal, and that as a share of all while few are known; with none, a fault
becomes its own baseline before anybody suspects it."""

CALM = 4
"""Stretches from which the wander of the step is known; of fewer, all may be alike by chance."""
OLDEST = 6
"""Stretches that make the origin; fewer, and it is as uncertain as any single one."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Per communicator of one family: transfer time and length of a cycle, and who leaves when (by members); ns."""

    transfer: Floats
    length: Floats
    depart: Floats


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over one healthy stretch: per rank, own time and wait against its role; of the job, its step; ns.

    `noise` and `length_noise` are standard deviations from step to step.
    """

    own: Floats
    wait: Floats
    busy: Floats
    noise: Floats
    length: float
    length_noise: float
    families: dict[Any, Paths]


@dataclass(frozen=True, slots=True)
class Normal(Summary):
    """The median of summaries; `wander` and `paths_wander` say by how much healthy stretches differ (ns).

    `origin` is `own` of the oldest stretches alone: what creeps takes the median of all with it.
    """

    origin: Floats
    wander: float
    paths_wander: dict[Any, Floats]
    paths_origin: dict[Any, Floats]
    """Transfers by family in the oldest stretches."""
    length_wander: float | None
    """The same of the step; None while few stretches are known."""


def held_back(known: int) -> int:
    """Return how many of *known* healthy stretches are too new to be trusted."""
    return min(SETTLE, max(1, int(known * HELD_BACK)))


class History:
    """The healthy stretches of one job."""

    def __init__(self) -> None:
        self.waiting: list[Summary] = []
        self.settled: list[Summary] = []
        self.next_step = 0
        """First step not yet summarised."""
        self._normal: Normal | None = None

    def learn(self, summary: Summary) -> None:
        """Add one healthy stretch."""
        self.waiting.append(summary)
        while len(self.waiting) > held_back(len(self.waiting) + len(self.settled)):
            self.settled.append(self.waiting.pop(0))
            if len(self.settled) > KEPT:
                self.settled = self.settled[: KEPT // 2 : 2] + self.settled[KEPT // 2 :]
        self._normal = None

    def doubt(self) -> None:
        """Drop the stretches held back: something is wrong, and it may have begun in them."""
        if len(self.settled) >= LEARNED and self.waiting:
            self.waiting = []
            self._normal = None

    def forget(self) -> None:
        """Begin anew: the job does something else now, and its steps are counted otherwise."""
        self.waiting, self.settled, self._normal, self.next_step = [], [], None, 0

    def normal(self) -> Normal | None:
        """Return the median of the settled summaries, else of those held back; None while too little is known."""
        if self._normal is None:
            known = self.settled if len(self.settled) >= LEARNED else [*self.settled, *self.waiting]
            if len(known) < LEARNED:
                return None
            # Stretches held back may be part of a fault that nobody saw yet: they do not say what is usual.
            enough = len(self.settled) > LEARNED
            self._normal = _fold(known, self.settled if enough else [*self.settled, *self.waiting])
        return self._normal


def _fold(known: list[Summary], every: list[Summary]) -> Normal:
    own = _stack([s.own for s in every])
    return Normal(
        own=robust.median(_stack([s.own for s in known])),
        wait=robust.median(_stack([s.wait for s in known])),
        busy=robust.median(_stack([s.busy for s in known])),
        noise=robust.median(_stack([s.noise for s in known])),
        length=float(np.median([s.length for s in known])),
        length_noise=float(np.median([s.length_noise for s in known])),
        families={key: _fold_paths([s.families[key] for s in known if key in s.families]) for key in _keys(known)},
        origin=robust.median(_stack([s.own for s in known[:OLDEST]])),
        paths_origin={
            key: robust.median(_stack([s.families[key].transfer for s in known[:OLDEST] if key in s.families]))
            for key in _keys(known[:OLDEST])
        },
        length_wander=_length_wander(every),
        wander=float(np.nan_to_num(robust.median(robust.spread(own)[:, None])[0])) if len(every) >= LEARNED else 0.0,
        paths_wander={
            key: np.nan_to_num(robust.scatter(_stack([s.families[key].transfer for s in every if key in s.families])))
            for key in _keys(known)
        },
    )


def _length_wander(every: list[Summary]) -> float | None:
    if len(every) < CALM:
        return None
    lengths = np.array([s.length for s in every])
    # The plain deviation as well: a job with moods is no calm one.
    return float(max(robust.spread(lengths[:, None])[0], lengths.std())) * (1 + 2 / len(lengths))


def _keys(summaries: list[Summary]) -> list[Any]:
    return list({key: None for s in summaries for key in s.families})


def _fold_paths(paths: list[Paths]) -> Paths:
    return Paths(
        *(robust.median(_stack([getattr(p, name) for p in paths])) for name in ("transfer", "length", "depart"))
    )


def _stack(values: list[Floats]) -> Floats:
    """Return arrays that grew over time as one, NaN where the shorter ones end."""
    most = max(len(v) for v in values)
    return np.stack(
        [v if len(v) == most else np.concatenate([v, np.full((most - len(v), *v.shape[1:]), np.nan)]) for v in values]
    )
