"""One look at a job: its newest steps by rank, its transfers by communicator and path, and what is normal for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.normal import Paths, Summary
from offbeat.analyzer.engine.roles import relative

if TYPE_CHECKING:
    from offbeat.analyzer.engine.comm import CommWindow
    from offbeat.analyzer.engine.cycles import Cycles
    from offbeat.analyzer.engine.facts import Hosts
    from offbeat.analyzer.engine.job import JobState
    from offbeat.analyzer.engine.normal import Normal
    from offbeat.analyzer.engine.steps import Stretch

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SECOND = 1_000_000_000
WINDOW_NS = 3_000_000_000
"""Length of the stretch that is judged; shorter and jitter looks like a change, longer and findings come late."""
LEARN = 6
"""Steps from which a healthy stretch is summed up: more, and a job with long steps is without a past for a minute."""
LEAST, MOST = 8, 120
"""Steps in that stretch: fewer have no reliable median, more only cost time."""


@dataclass(frozen=True, slots=True)
class StepView:
    """The stretch that is judged, and a longer one for what comes and goes.

    `own` and `wait` (of `recent`), `long_own` and `long_wait` are steps by ranks, against others of the same role, ns.
    """

    recent: Stretch
    own: Floats
    wait: Floats
    long_own: Floats
    long_wait: Floats

    @property
    def length(self) -> float:
        """The typical step, ns."""
        return float(np.median(self.recent.length))

    @property
    def since(self) -> int:
        """When the stretch began, Unix ns of the typical rank's host."""
        return int(np.nanmedian(self.recent.began[0]))


@dataclass(frozen=True, slots=True)
class FamilyView:
    """The newest cycles of the communicators of one family: medians per communicator, NaN where there are too few."""

    cycles: Cycles
    words: list[Any]
    """What `Beats` knows them by."""
    windows: list[CommWindow]
    now: Paths
    per_step: Floats
    """Cycles a step."""
    error: Floats
    """Standard error of `now.transfer`, ns."""


@dataclass(frozen=True, slots=True)
class View:
    """What the rules read."""

    job: JobState
    hosts: Hosts
    now: int
    steps: StepView | None
    families: dict[Any, FamilyView]
    normal: Normal | None
    standing: list[CommWindow]
    """Communicators in which somebody is inside an operation now."""


def look(job: JobState, hosts: Hosts, now: int) -> View:
    """Fold what came in, and take the newest stretch."""
    job.learn(now)
    steps = _steps(job)
    normal = job.history.normal()
    families = _families(job, WINDOW_NS, steps.length) if steps is not None else {}
    return View(job, hosts, now, steps, families, normal, job.intake.standing())


def _steps(job: JobState) -> StepView | None:
    frontier = job.intake.steps.frontier()
    stretch = job.intake.steps.stretch(min(MOST, frontier - job.since_step + 1))
    if stretch is None or len(stretch.length) < LEAST:
        return None
    length = max(float(np.median(stretch.length[-LEAST:])), 1.0)
    recent = stretch.tail(int(np.clip(np.ceil(WINDOW_NS / length), LEAST, MOST)))
    roles = job.roles
    known = np.concatenate([roles, np.full(max(recent.own.shape[1] - len(roles), 0), -1)])[: recent.own.shape[1]]
    own, wait = relative(stretch.own, known), relative(stretch.wait, known)
    n = len(recent.length)
    return StepView(recent, own[-n:], wait[-n:], own, wait)


def _families(job: JobState, span_ns: float, step_ns: float) -> dict[Any, FamilyView]:
    windows: dict[Any, list[CommWindow]] = {key: [] for key in job.intake.families}
    spans: dict[Any, list[float]] = {key: [] for key in job.intake.families}
    words: dict[Any, list[Any]] = {key: [] for key in job.intake.families}
    for kind, some in (("comm", job.windows), ("path", job.paths)):
        for word, window in some.items():
            windows[kind, window.family.size].append(window)
            words[kind, window.family.size].append(word)
            spans[kind, window.family.size].append(job.rhythm.span.get(word, np.nan))
    longest = max((s for some in spans.values() for s in some if np.isfinite(s)), default=1.0)
    found = {}
    for key, cycles in job.intake.cycles.items():
        if key[1] < 2:
            continue
        lengths = _lengths(cycles, len(windows[key]))
        count = np.clip(np.ceil(max(span_ns, LEAST * step_ns) / np.maximum(lengths, 1.0)), 1, MOST)
        # How many cycles a step has does not change while the beat holds; measured anew it would add its own noise.
        per_step = np.maximum(np.round(longest / np.array(spans[key])), 1.0)
        now, error = _medians(cycles, len(windows[key]), count, lengths)
        found[key] = FamilyView(cycles, words[key], windows[key], now, per_step, error)
    return found


def _lengths(cycles: Cycles, count: int) -> Floats:
    """Return the typical length of a cycle per communicator, ns; NaN with fewer than two."""
    comms = np.arange(count)
    row, whole = cycles.newest_of(comms, LEAST)
    began = np.where(whole, cycles.began[row, comms], np.nan)
    return robust.median(np.diff(began, axis=0))


def _medians(cycles: Cycles, count: int, depth: Floats, lengths: Floats) -> tuple[Paths, Floats]:
    """Return the medians over the newest cycles, and the standard error of the transfer's."""
    comms = np.arange(count)
    known = np.isfinite(depth)
    most = int(np.max(depth[known], initial=1))
    row, whole = cycles.newest_of(comms, most)
    age = np.arange(most - 1, -1, -1)[:, None]
    inside = whole & (age < np.nan_to_num(depth))
    transfer = np.where(inside, cycles.transfer[row, comms], np.nan)
    depart = np.where(inside[:, :, None], cycles.depart[row, comms], np.nan)
    middle = robust.median(transfer)
    # Few cycles may look steady by chance: none is taken to be steadier than the typical communicator.
    with np.errstate(invalid="ignore", divide="ignore"):
        share = robust.spread(transfer) / middle
        share = np.fmax(share, np.nanmedian(share) if np.isfinite(share).any() else 0.0)
        error = robust.MEDIAN * share * middle / np.sqrt(np.isfinite(transfer).sum(axis=0))
    return Paths(middle, lengths, robust.median(depart)), error


def learn(view: View) -> None:
    """Add the steps since the last time to what is normal, once they make a stretch."""
    job, steps = view.job, view.steps
    if steps is None:
        return
    fresh = min(int(steps.recent.last - job.history.next_step + 1), len(steps.recent.length))
    if fresh < LEARN or float(np.sum(steps.recent.length[-fresh:])) < WINDOW_NS / 2:
        return
    own, wait = steps.own[-fresh:], steps.wait[-fresh:]
    job.history.learn(
        Summary(
            own=robust.median(own),
            wait=robust.median(wait),
            busy=robust.median(steps.recent.own[-fresh:]),
            noise=robust.spread(own),
            length=float(np.median(steps.recent.length[-fresh:])),
            length_noise=float(robust.spread(steps.recent.length[-fresh:, None])[0]),
            families={
                key: Paths(f.now.transfer * f.per_step, f.now.length, f.now.depart) for key, f in view.families.items()
            },
        )
    )
    job.history.next_step = steps.recent.last + 1
    span = int(np.sum(steps.recent.length[-fresh:]))
    job.edges.learn(job.edges.newest - span - SECOND)
    job.delays.learn(span // SECOND + 1)
