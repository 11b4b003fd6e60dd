"""What a job does now, for people: its state, its beat, and who is late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from offbeat.analyzer.engine.job import JobState
    from offbeat.analyzer.engine.view import View

    Floats = np.ndarray[Any, np.dtype[np.float32]]

SECOND = 1_000_000_000
STRIDE_NS = 2 * SECOND
"""Length of one column of the lateness picture; shorter ones cost storage and show nothing more."""
STALLED_NS = 5 * SECOND
"""Time without a finished iteration after which a job is not called running."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is now; `state` is learning, running, stalled or ended, `iteration_ns` None until learned."""

    job: str
    attempt: int
    name: str
    world: int
    simulated: bool
    state: str
    first_seen: int
    last_seen: int
    iteration_ns: int | None
    ranks: tuple[tuple[int, str, int], ...]
    """(rank, host, pid)."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The iterations of one stride: its end and length (ns), and the typical iteration.

    `lateness` and `own` are per rank and iteration, ns, NaN without data.
    """

    job: str
    attempt: int
    at: int
    span_ns: int
    iteration_ns: int
    ranks: Any
    lateness: Floats
    own: Floats
    cut: int = 0
    """How often the job's steps were cut anew before: what was a step under an earlier cut was none."""


class Progress:
    """Follows one job's iterations."""

    def __init__(self) -> None:
        self.advanced_at = 0
        """When an iteration was last seen to finish, by the service's clock."""
        self.iteration_ns: int | None = None
        self.learned = False
        self._frontier = -1
        self._told: int = 0

    def advance(self, view: View) -> None:
        """Note whether any step finished since the last look."""
        frontier = view.job.intake.steps.frontier()
        if frontier != self._frontier:
            self._frontier, self.advanced_at = frontier, view.now
        if view.steps is not None:
            self.iteration_ns = int(view.steps.length)
            self.learned = self.learned or view.normal is not None

    def state(self, job: JobState, now: int) -> str:
        """Return the word for what the job does."""
        if job.over:
            return "ended"
        if self.advanced_at and now - self.advanced_at > max(STALLED_NS, 10 * (self.iteration_ns or 0)):
            return "stalled" if now - job.last_seen < 60 * SECOND else "ended"
        if not self.advanced_at and now - job.last_seen > 60 * SECOND:
            return "ended"
        return "running" if self.learned else "learning"

    def stretch(self, view: View) -> Stretch | None:
        """Return the newest stride once it is full, each once."""
        steps = view.steps
        if steps is None:
            return None
        ends = np.nanmedian(steps.recent.began, axis=1) + steps.recent.length
        at = int(ends[-1])
        if at - self._told < STRIDE_NS:
            return None
        # Of long steps several end at once; the time before a gap in the reports is nobody's.
        begin = max(self._told, at - int(max(STRIDE_NS, 2 * steps.length)))
        inside = ends > begin
        span, self._told = at - begin, at
        ranks = np.array(sorted(view.job.ranks), np.int32)
        known = ranks < steps.own.shape[1]
        late, own = (np.full(len(ranks), np.nan, np.float32) for _ in range(2))
        # A rank is late by as much as it waits less than others of its role do.
        late[known] = _mean(np.maximum(-steps.wait[inside], 0.0))[ranks[known]]
        own[known] = _mean(steps.recent.own[inside])[ranks[known]]
        iteration = int(np.median(steps.recent.length[inside]))
        return Stretch(view.job.job, view.job.attempt, at, span, iteration, ranks, late, own, view.job.cuts)


def _mean(values: Any) -> Any:
    """Return the mean of each column without its NaN entries, NaN where there is nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def describe(job: JobState, progress: Progress, now: int) -> JobView:
    """Return the view of *job* at *now*."""
    return JobView(
        job=job.job,
        attempt=job.attempt,
        name=job.name or job.job,
        world=max(job.world, len(job.ranks)),
        simulated=job.simulated,
        state=progress.state(job, now),
        first_seen=job.first_seen,
        last_seen=job.last_seen,
        iteration_ns=progress.iteration_ns,
        ranks=tuple((r, f.host, f.pid) for r, f in sorted(job.ranks.items())),
    )
