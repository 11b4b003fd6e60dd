"""slow.link, slow.send, slow.receive, slow.fabric where no connection was watched: from transfers, else from groups.

Reads: transfers, steps, cycles of communicators and paths. Emits: the slow.* classes of the network.

With transfer records the delay matrix says it: time on the wire grows on the slow edge only. Without, a slow edge is in
every communicator that got slower and in none that did not; of the edges that are left, the one whose receiver now
leaves last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.delays import BINS
from offbeat.analyzer.engine.localise import Sighting, explain, parts
from offbeat.analyzer.engine.rules.common import SECOND, ms
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.analyzer.engine.transfers import growths
from offbeat.model import Action, Advice, Evidence, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.localise import Edge, Verdict
    from offbeat.analyzer.engine.transfers import Growth
    from offbeat.analyzer.engine.view import View

SLOWER, ERRORS = 0.04, 5.0
"""Growth of an edge's time on the wire, as a share and in errors of what is compared; less is noise."""
LONG = 4
"""How many times longer what is small is looked at."""
UNLEARNED = 0.3
"""Growth against the other edges where no healthy time is known; edges differ by this much by design."""
SECONDS = 4
"""Seconds of transfers that are judged."""
LAG, LAG_SPREADS = 0.05, 3.0
"""By how much of the growth a receiver must leave later to be a witness, and in spreads of the other members; less is
the usual disorder of departures."""
HOLD_NS = 3 * SECOND
ALL_TO_ALL = {"all_to_all"}


def judge(view: View) -> list[Suspicion]:
    """Return the slow parts of the network."""
    if view.steps is None:
        return []
    found = _by_transfers(view)
    if found is None:
        found = [] if view.job.edges.connections else _by_groups(view)
    return found


@dataclass(frozen=True, slots=True)
class _Hot:
    edge: Edge
    now: float
    usual: float


def _by_transfers(view: View) -> list[Suspicion] | None:
    """Return what the delay matrix says, None where there is none."""
    delays, job = view.job.delays, view.job
    crossing = [k for k, (s, d) in enumerate(delays.edges) if job.host_of(s) != job.host_of(d) or not job.host_of(s)]
    assert view.steps is not None
    seconds = int(max(SECONDS, np.ceil(8 * view.steps.length / SECOND)))
    if not crossing or delays.newest * SECOND < view.steps.recent.began[0].min() - SECOND:
        return None
    edges = [delays.edges[k] for k in crossing]
    # What is plain shows in few seconds; what is small shows in many.
    looks = [_hot(view, edges, crossing, span) for span in (seconds, min(LONG * seconds, BINS - 2))]
    slow = {h.edge: h for hot, _ in reversed(looks) for h in hot}
    if not slow:
        return []
    steady = [s for s in looks[0][1] if not s & set(slow)]
    sightings = [Sighting(frozenset({edge})) for edge in slow]
    hot = list(slow.values())
    verdicts = explain(parts(job, edges), sightings, steady)
    return [_suspicion(view, v, [_wire(hot[k]) for k in v.sightings[:4]], 0.95) for v in verdicts]


def _hot(view: View, edges: list[Edge], at: list[int], seconds: int) -> tuple[list[_Hot], list[frozenset[Edge]]]:
    """Return which of *edges*, at some places of the delay matrix, are slower over some seconds, and which are not."""
    delays = view.job.delays
    now, known = delays.now(seconds)[at], delays.normal(seconds)
    if known is None:
        usual, error, least = np.full(len(now), float(robust.median(now[:, None])[0])), np.zeros(len(now)), UNLEARNED
    else:
        usual, error, least = known[0][at], known[1][at], SLOWER
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = now / usual
        # What all edges share is no edge's fault.
        ratio /= max(float(robust.median(ratio[:, None])[0]), 1.0) if np.isfinite(ratio).any() else 1.0
        hot = ratio > 1 + np.maximum(least, ERRORS * error)
        cold = ratio < 1 + np.maximum(least, ERRORS * error) / 2
    slow = [_Hot(edges[k], float(now[k]), float(usual[k])) for k in np.nonzero(hot)[0]]
    return slow, [frozenset({edges[k]}) for k in np.nonzero(cold)[0]]


def _wire(hot: _Hot) -> Evidence:
    text = f"rank {hot.edge[0]} to rank {hot.edge[1]}: {hot.now:.3g} ns a byte on the wire instead of {hot.usual:.3g}"
    return Evidence(
        "transfer", text, {"src_rank": hot.edge[0], "dst_rank": hot.edge[1], "now": hot.now, "usual": hot.usual}
    )


def _by_groups(view: View) -> list[Suspicion]:
    """Return the smallest part of the network that is in all groups that got slower, and in none that did not."""
    every = growths(view)
    slow = [g for g in every if g.slower and _edges(view, g)]
    if not slow:
        return []
    steady = [_edges(view, g) for g in every if g.steady]
    edges = {e for g in slow for e in _edges(view, g)} | {e for some in steady for e in some}
    sightings = [Sighting(_edges(view, g), 1.0, _witness(view, g)) for g in slow]
    found = []
    for verdict in explain(parts(view.job, edges), sightings, steady):
        # Several parts that explain it equally well are none that could be named.
        named = all(verdict.part.edges >= rival.edges for rival in verdict.rivals)
        if named and any(slow[k].felt for k in verdict.sightings):
            evidence = [_group(slow[k]) for k in verdict.sightings[:4]]
            found.append(_suspicion(view, verdict, evidence, 0.7))
    return found


def _edges(view: View, growth: Growth) -> frozenset[Edge]:
    """Return the edges between hosts that a group's transfers take: of a ring its neighbours, else all pairs."""
    members, job = growth.window.members, view.job
    if growth.kind == "path":
        pairs = [(members[0], members[1])]
    elif _op(view, growth) in ALL_TO_ALL:
        pairs = [(a, b) for a in members for b in members if a != b]
    else:
        pairs = list(zip(members, members[1:] + members[:1], strict=True))
    return frozenset((a, b) for a, b in pairs if job.host_of(a) != job.host_of(b))


def _op(view: View, growth: Growth) -> str:
    window = growth.window
    code = int(window.signature[window.top % window.capacity].max()) if window.top >= 0 else -1
    return view.job.signatures.known[code].op if code >= 0 else ""


def _witness(view: View, growth: Growth) -> frozenset[Edge]:
    """Return the edge whose receiver now leaves clearly last, if one does."""
    edges = _edges(view, growth)
    if growth.kind == "path":
        return edges
    k = int(np.nanargmax(growth.shift))
    per_operation = growth.more / max(growth.operations, 1.0)
    others = np.delete(growth.shift, k)
    if growth.shift[k] < max(LAG * per_operation, LAG_SPREADS * float(robust.spread(others[:, None])[0])):
        return frozenset()
    return frozenset(e for e in edges if e[1] == growth.window.members[k])


def _group(growth: Growth) -> Evidence:
    what = "the path" if growth.kind == "path" else "group"
    text = f"transfers of {what} {growth.window.name} take {ms(growth.now)} a step instead of {ms(growth.usual)}"
    return Evidence("transfer", text, {"comm": growth.window.comm, "now_ns": growth.now, "usual_ns": growth.usual})


def _suspicion(view: View, verdict: Verdict, evidence: list[Evidence], confidence: float) -> Suspicion:
    steps, normal, part = view.steps, view.normal, verdict.part
    assert steps is not None
    culprits = part.culprits
    summary = f"{part.name} is slow: what passes it takes longer, and no rank comes late"
    return Suspicion(
        key=view.job.places.key(part.edges, view.now),
        fault=part.fault,
        severity=Severity.WARNING,
        summary=summary,
        advice=Advice(Action.INSPECT, "look at link errors, speed and congestion on that path"),
        culprits=culprits,
        victims=tuple(sorted(set(view.job.ranks) - set(culprits.ranks))),
        evidence=tuple(evidence),
        slowdown=steps.length / normal.length if normal else None,
        confidence=confidence,
        started_at=steps.since,
        hold_ns=HOLD_NS,
        clear_ns=3 * SECOND,
    )
