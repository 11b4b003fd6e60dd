"""slow.mixed: a place that computes slower and communicates slower at once is one fault.

Reads: what the rules of slowness said. Emits: slow.mixed in place of both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from offbeat.model import Culprits, FaultClass

if TYPE_CHECKING:
    from offbeat.analyzer.engine.suspicion import Suspicion
    from offbeat.analyzer.engine.view import View

SIDES = {FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE, FaultClass.SLOW_LINK}


def join(view: View, found: list[Suspicion]) -> list[Suspicion]:
    """Return *found*, a slow rank and the slow side of the same rank or host as one."""
    computing = [s for s in found if s.fault is FaultClass.SLOW_COMPUTE]
    sending = [s for s in found if s.fault in SIDES]
    out, used = [], set()
    for compute in computing:
        ranks = set(compute.culprits.ranks)
        hosts = {view.job.host_of(r) for r in ranks}
        for network in sending:
            same = ranks & set(network.culprits.ranks) or (hosts & set(network.culprits.hosts))
            ends = {r for link in network.culprits.links for r in (link.src_rank, link.dst_rank)}
            if same or (network.fault is FaultClass.SLOW_LINK and len(ranks & ends) == len(ranks)):
                out.append(_both(view, compute, network))
                used |= {id(compute), id(network)}
                break
    return out + [s for s in found if id(s) not in used]


def _both(view: View, compute: Suspicion, network: Suspicion) -> Suspicion:
    key = f"mixed:{compute.key}"
    # Whichever showed first may have become an incident already: it goes on under its key.
    known = [k for k in (key, network.key, compute.key) if view.job.tracker.has(k)]
    return replace(
        compute,
        key=known[0] if known else key,
        fault=FaultClass.SLOW_MIXED,
        summary=f"{compute.summary}; and {network.summary}",
        culprits=Culprits(compute.culprits.ranks, compute.culprits.hosts, network.culprits.links),
        evidence=(*compute.evidence, *network.evidence),
        confidence=min(compute.confidence, network.confidence),
    )
