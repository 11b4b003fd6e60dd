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
ERRORS = 4.0
"""Standard errors of the stretch's median that an excess must exceed; fewer make jitter a finding."""
WANDERS = 2.5
"""Standard deviations of healthy stretches' medians that it must exceed; with fewer, a busy machine's moods are
findings, and with more, on such a machine, a rank half as slow again is not."""
WANDERS_ALWAYS, ALWAYS = 1.8, 0.9
"""The same for a rank that is late in nearly all steps, and which share that is."""
AGREES = 0.4
"""Part of the excess own time by which the rank must also wait less; without it, departure skew is blamed."""
OFTEN = 0.6
"""Share of steps in which the rank must be late; without it one long pause makes the median's neighbours."""
PEERS_SHARE, PEERS_SPREADS, PEERS = 0.05, 6.0, 3
"""Where no healthy time is known: least excess as a share of the step, and in spreads between peers; fewest peers."""
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
    return {} if len(found) > ranks / 2 else found


def _steadily(view: View, steps: StepView, normal: Normal) -> dict[int, Slow]:
    own, waits = steps.own, steps.wait
    usual, usual_wait, origin = (_fit(v, own.shape[1]) for v in (normal.own, normal.wait, normal.origin))
    # Against its own past and against its peers: the smaller of the two, or whoever was quick at first is accused of
    # becoming ordinary, and whoever has the longer part by design is accused of having it.
    change = own - np.fmin(usual, origin + LEAST_SHARE / 2 * normal.length)
    excess = np.minimum(robust.median(change), robust.median(own))
    shorter = -np.maximum(robust.median(waits) - usual_wait, robust.median(waits))
    error = 1.253 * robust.spread(own) / np.sqrt(len(own))
    floor = max(LEAST_SHARE * normal.length, LEAST_NS)
    often = (np.minimum(change, own) > floor / 2).mean(axis=0)
    # What shows in nearly every step is no mood of the machine, which comes and goes.
    wander = np.where(often >= ALWAYS, WANDERS_ALWAYS, WANDERS) * normal.wander
    least = np.maximum(np.maximum(floor, wander), ERRORS * error)
    often = (np.minimum(change, own) > least / 2).mean(axis=0)
    with np.errstate(invalid="ignore"):
        late = (excess > least) & (shorter > AGREES * excess) & (often >= OFTEN)
        # A transfer that grew by much more than anybody's own time is a network's doing; entries shift with it.
        late &= excess > _slower_transfers(view, own.shape[1]) / 2
    return {int(r): Slow(float(excess[r]), 1.0, learned=True) for r in np.nonzero(late)[0]}


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
    least = max(PEERS_SHARE * steps.length, 2 * LEAST_NS, PEERS_SPREADS * between)
    error = 1.253 * robust.spread(steps.own) / np.sqrt(len(steps.own))
    often = (steps.own > least / 2).mean(axis=0)
    with np.errstate(invalid="ignore"):
        late = (own > np.maximum(least, 2 * ERRORS * error)) & (-waits > AGREES * own) & (often >= 0.9)
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
