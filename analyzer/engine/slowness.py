"""Which ranks' own time is longer than it should be: against ranks of the same role, and against their own past.

A rank is late only if its own time grew *and* it waits less than the others by about as much: durations alone also
shift when members leave a slow transfer one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.transfers import growths

if TYPE_CHECKING:
    from offbeat.analyzer.engine.normal import Normal
    from offbeat.analyzer.engine.view import StepView, View

    Floats = np.ndarray[Any, np.dtype[np.float64]]

LEAST_SHARE = 0.02
"""Smallest excess, as a share of the healthy step; below it, honest differences between machines are faults."""
LEAST_NS = 1_000_000
"""Smallest excess at all; below it the scheduler of a busy host is a fault."""
WANDERS = 2.5
"""Standard deviations of healthy stretches' medians that it must exceed; with fewer, a busy machine's moods are
findings, and with more, on such a machine, a rank half as slow again is not."""
WANDERS_ALWAYS, ALWAYS = 1.8, 0.9
"""The same for a rank that is late in nearly all steps, and which share that is."""
AGREES = 0.4
"""Part of the excess own time by which the rank must also wait less; without it, departure skew is blamed."""
LONG = 4
"""How many times as many steps are looked at for what is small: the error of a median shrinks with their number."""
OFTEN = 0.6
"""Share of steps in which the rank must be late; without it one long pause makes the median's neighbours."""
PEERS_SHARE, PEERS_SPREADS, PEERS = 0.05, 6.0, 3
"""Where no healthy time is known: least excess as a share of the step, and in spreads between peers; fewest peers."""
MANY, MANY_SHARE = 16, 0.03
"""Peers from which their spread is well known, and the least excess then."""
UNLEARNED = 1.5
"""By how much the bound on chance is raised where no healthy time is known."""
ECHO = 0.12
"""Share of the largest excess below which another one is taken for its echo; less, and bystanders are accused."""
FED = 0.6
"""Part of a group's common excess that one rank elsewhere must have alone to be what the group waits for."""
SOMETIMES, HITS, HIT_NOISE = 0.2, 6, 5.0
"""A rank that is late now and then: least share of steps, least steps, and how many noises a late step stands out."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A rank's excess of own time, ns a step; in which share of steps; whether its own past says so too."""

    excess_ns: float
    share: float
    learned: bool


def find(view: View) -> dict[int, Slow]:
    """Return the ranks that are late by their own time; nobody where most are."""
    steps = view.steps
    if steps is None:
        return {}
    found = _unlearned(steps)
    if view.normal is not None:
        found |= _sometimes(steps, view.normal) | _steadily(view, steps, view.normal)
    ranks = int(np.isfinite(steps.own).any(axis=0).sum())
    # Beside one that is far slower the events of others fall otherwise, and so does what counts as their own time.
    most = max((s.excess_ns for s in found.values()), default=0.0)
    found = {r: s for r, s in found.items() if s.excess_ns > ECHO * most}
    if found and not view.job.paths:
        found = _without_fed(view, steps, found)
    return {} if len(found) > ranks / 2 else found


def _steadily(view: View, steps: StepView, normal: Normal) -> dict[int, Slow]:
    """Return the ranks that are late step by step: clearly over a few, or by less over many."""
    count = len(steps.own)
    usual, usual_wait, origin = (_fit(v, steps.own.shape[1]) for v in (normal.own, normal.wait, normal.origin))
    usual = np.fmin(usual, origin + LEAST_SHARE / 2 * normal.length)
    # A transfer that grew by much more than anybody's own time is a network's doing; entries shift with it.
    doubt = _slower_transfers(view, steps.own.shape[1]) / 2
    recent: Floats | None = None
    found: dict[int, Slow] = {}
    for steps_looked_at in (count, LONG * count):
        own, waits = steps.long_own[-steps_looked_at:], steps.long_wait[-steps_looked_at:]
        if len(own) < steps_looked_at:
            break
        # Against its own past and against its peers: the smaller of the two, or whoever was quick at first is accused
        # of becoming ordinary, and whoever has the longer part by design is accused of having it.
        both = np.minimum(own - usual, own)
        excess = np.minimum(robust.median(own - usual), robust.median(own))
        recent = excess if recent is None else recent
        shorter = -np.maximum(robust.median(waits) - usual_wait, robust.median(waits))
        least = _least(both, _error(own, _fit(normal.noise, own.shape[1])), normal)
        with np.errstate(invalid="ignore"):
            late = (excess > np.maximum(least, doubt)) & (shorter > AGREES * excess)
            late &= ((both > least / 2).mean(axis=0) >= OFTEN) & (recent > least / 2)
        found |= {int(r): Slow(float(excess[r]), 1.0, learned=True) for r in np.nonzero(late)[0] if r not in found}
    return found


def _without_fed(view: View, steps: StepView, found: dict[int, Slow]) -> dict[int, Slow]:
    """Return *found* without those that wait for another of them where sends and receives are not recorded.

    What a pipeline stage waits for its input then looks like its own time. But all members of its tensor group wait for
    that alike, while a rank that is slow by itself makes the members of its group wait for it.
    """
    excess = np.nan_to_num(robust.median(steps.own))
    nearest: dict[int, tuple[int, ...]] = {}
    for window in view.job.windows.values():
        for rank in window.members if len(window.members) > 1 and window.top >= 0 else ():
            if rank not in nearest or len(window.members) < len(nearest[rank]):
                nearest[rank] = window.members
    alone = {
        r: excess[r] - float(np.median([excess[p] for p in group if p != r and p < len(excess)] or [0.0]))
        for r, group in nearest.items()
        if r < len(excess)
    }
    most = max(alone.values(), default=0.0)
    return {r: s for r, s in found.items() if alone.get(r, s.excess_ns) > s.excess_ns / 2 or most < FED * s.excess_ns}


def _least(both: Floats, error: Floats, normal: Normal) -> Floats:
    """Return the excess of each rank from which it is late, ns."""
    floor = max(LEAST_SHARE * normal.length, LEAST_NS)
    often = (both > floor / 2).mean(axis=0)
    # What shows in nearly every step is no mood of the machine, which comes and goes.
    wander = np.where(often >= ALWAYS, WANDERS_ALWAYS, WANDERS) * normal.wander
    return np.asarray(np.maximum(np.maximum(floor, wander), robust.sigmas(both.shape[1]) * error))


def _error(own: Floats, noise: Floats) -> Floats:
    """Return the standard error of each rank's median over the stretch, ns.

    A few steps may look steady by chance: no rank is taken to be steadier than it was, or than the typical one is.
    """
    steady = robust.spread(own)
    typical = np.nanmedian(steady) if np.isfinite(steady).any() else 0.0
    return np.asarray(robust.MEDIAN * np.fmax(np.fmax(steady, noise), typical) / np.sqrt(len(own)))


def _sometimes(steps: StepView, normal: Normal) -> dict[int, Slow]:
    """Return the ranks that are late in a part of the steps, unlike all others."""
    own, waits = steps.long_own[-60:], steps.long_wait[-60:]
    usual, usual_wait, noise = (_fit(v, own.shape[1]) for v in (normal.own, normal.wait, normal.noise))
    excess = np.minimum(own - usual, own)
    shorter = -np.maximum(waits - usual_wait, waits)
    # Where everybody is unsteady now, nobody is for being so.
    noise = np.fmax(noise, np.nanmedian(robust.spread(own)))
    least = np.maximum(max(2 * LEAST_SHARE * normal.length, 2 * LEAST_NS, WANDERS * normal.wander), HIT_NOISE * noise)
    with np.errstate(invalid="ignore"):
        hit = (excess > least) & (shorter > AGREES * excess)
    share = hit.mean(axis=0)
    others = float(np.percentile(share, 90)) if len(share) > 10 else float(np.sort(share)[-2:].min(initial=0.0))
    found = {}
    for r in np.nonzero((share >= SOMETIMES) & (hit.sum(axis=0) >= HITS) & (share > 4 * others + 0.05))[0]:
        at = np.nonzero(hit[:, r])[0]
        # Hits far apart and up to now: one long disturbance is not a habit.
        if len(own) - 1 - at[-1] <= max(8, 2 / share[r]) and at[-1] - at[0] >= 2 * HITS:
            found[int(r)] = Slow(float(np.median(excess[at, r])), float(share[r]), learned=True)
    return found


def _unlearned(steps: StepView) -> dict[int, Slow]:
    """Return the ranks that stand out among their peers, whatever they did before."""
    own, waits = robust.median(steps.own), robust.median(steps.wait)
    known = np.isfinite(own)
    if known.sum() <= PEERS:
        return {}
    between = float(robust.spread(own[known][:, None])[0])
    share = PEERS_SHARE if known.sum() < MANY else MANY_SHARE
    least = max(share * steps.length, 2 * LEAST_NS, PEERS_SPREADS * between)
    error = _error(steps.own, np.full(len(own), np.nan))
    often = (steps.own > least / 2).mean(axis=0)
    with np.errstate(invalid="ignore"):
        late = (
            (own > np.maximum(least, UNLEARNED * robust.sigmas(len(own)) * error))
            & (-waits > AGREES * own)
            & (often >= 0.9)
        )
    return {int(r): Slow(float(own[r]), 1.0, learned=False) for r in np.nonzero(late)[0]}


def _slower_transfers(view: View, ranks: int) -> Floats:
    """Return per rank the largest growth of a communicator's transfer it takes part in, ns a step."""
    out = np.zeros(ranks)
    for growth in growths(view):
        if growth.clearly and growth.kind == "comm":
            members = np.array(growth.window.members)
            out[members] = np.maximum(out[members], growth.more)
    return out


def _fit(values: Floats, count: int) -> Floats:
    return values[:count] if len(values) >= count else np.concatenate([values, np.full(count - len(values), np.nan)])
