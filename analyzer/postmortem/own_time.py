"""Own computing time of every rank in a straggler trace, by step and role.

A rank's role is its pipeline stage: data-parallel replicas of one stage do the same work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from offbeat.analyzer.readers.straggler import StragglerTrace

    Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Own:
    """Own computing time: steps by stages by replicas, seconds, NaN where nothing is known."""

    steps: list[int]
    stages: list[int]
    replicas: list[int]
    seconds: Floats
    rank: dict[tuple[int, int], int]

    def name(self, stage: int, replica: int) -> int:
        """Return the global rank at these positions."""
        return self.rank.get((stage, replica), -1)


def own_times(trace: StragglerTrace) -> Own:
    """Sum the computing time of each rank and step."""
    compute = [i for i, word in enumerate(trace.ops) if word and word.endswith("-compute")]
    mine = np.isin(trace.op, compute) & np.isfinite(trace.duration)
    steps, step = np.unique(trace.step[mine], return_inverse=True)
    stages, stage = np.unique(trace.stage[mine], return_inverse=True)
    replicas, replica = np.unique(trace.replica[mine], return_inverse=True)
    seconds = np.zeros((len(steps), len(stages), len(replicas)))
    np.add.at(seconds, (step, stage, replica), trace.duration[mine])
    places, first = np.unique(np.stack([trace.stage, trace.replica]), axis=1, return_index=True)
    rank = {(int(s), int(d)): int(trace.rank[i]) for s, d, i in zip(*places, first, strict=True)}
    seconds[seconds == 0] = np.nan
    return Own([int(s) for s in steps], [int(s) for s in stages], [int(d) for d in replicas], seconds, rank)


def lengths(trace: StragglerTrace) -> list[float]:
    """Return how long each step took, seconds."""
    ends = trace.start + trace.duration
    known = np.isfinite(ends)
    steps, index = np.unique(trace.step[known], return_inverse=True)
    longest = np.zeros(len(steps))
    np.maximum.at(longest, index, ends[known])
    return [float(v) for v in longest]
