"""What a slow part costs: the share of the job's time that is lost to it, and the GPU-hours at stake.

A step is over when its last rank is. Of what one rank computes longer than its peers, the job loses what exceeds the
next slowest: with that rank healthy the job would be as slow as the next. Transfers are lost as far as the step grew by
them; what hides behind computing costs nothing. (S and the share recovered as in arXiv 2505.05713.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine.rules.common import ms
from offbeat.model import Evidence, FaultClass

if TYPE_CHECKING:
    from offbeat.analyzer.engine.suspicion import Suspicion
    from offbeat.analyzer.engine.view import StepView, View

NETWORK = {FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE, FaultClass.SLOW_LINK, FaultClass.SLOW_FABRIC}
OF_RANKS = {FaultClass.SLOW_COMPUTE, FaultClass.SLOW_MIXED, FaultClass.WORKLOAD_INPUT_STALL}


def priced(view: View, found: list[Suspicion]) -> list[Suspicion]:
    """Return *found*, each that is slow with what it costs as evidence."""
    steps = view.steps
    if steps is None:
        return found
    return [_priced(view, steps, s) for s in found]


def _priced(view: View, steps: StepView, s: Suspicion) -> Suspicion:
    length, normal = steps.length, view.normal
    grown = length - normal.length if normal is not None else None
    if s.fault in OF_RANKS and s.culprits.ranks:
        lost, ideal = _lost(steps, s.culprits.ranks)
        if s.fault is FaultClass.SLOW_MIXED and grown is not None:
            lost = max(lost, grown)
    elif s.fault in NETWORK and grown is not None:
        lost = ideal = max(grown, 0.0)
    elif s.fault is FaultClass.SLOW_UNIFORM and grown is not None:
        lost = ideal = grown
    else:
        return s
    share, world = min(max(lost / length, 0.0), 1.0), max(view.job.world, len(view.job.ranks))
    text = f"{100 * share:.1f} % of the job's time is lost to it: {ms(share * length)} of a step of {ms(length)}"
    text += f", {share * world:.1f} GPU-hours every hour on {world} ranks" if world else ""
    data: dict[str, Any] = {
        "share": round(share, 4), "gpu_hours_per_hour": round(share * world, 2), "lost_ns": round(share * length),
        "slowdown": round(length / max(length - max(ideal, lost), 1.0), 4),
        "recovered": round(min(lost / ideal, 1.0), 4) if ideal > 0 else 1.0,
    }  # fmt: skip
    return replace(s, evidence=(*s.evidence, Evidence("cost", text, data)))


def _lost(steps: StepView, ranks: tuple[int, ...]) -> tuple[float, float]:
    """Return what a step loses to *ranks*, and to all that compute longer than their peers, ns."""
    own = np.nan_to_num(steps.own, nan=0.0)
    mine = np.isin(np.arange(own.shape[1]), ranks)
    slowest = own[:, mine].max(axis=1, initial=0.0)
    # Of a single step somebody's jitter is always in the way: of the others counts what they typically need longer.
    next_slowest = float(np.max(np.median(own[:, ~mine], axis=0), initial=0.0))
    lost = float(np.maximum(slowest - next_slowest, 0.0).mean())
    return lost, lost + next_slowest
