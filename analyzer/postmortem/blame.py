"""From who waits for whom to who started it.

Waiting propagates: a rank that has not entered a collective may itself be stuck elsewhere. So waits are followed from
each to the ones that hold its missing members, down to ranks that wait for nobody (or whose device stands still while
their host went on). Only those are named; whoever can be reached backwards from them is a victim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem.graph import WaitGraph
from offbeat.analyzer.postmortem.roles import Trails

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator, Part
    from offbeat.analyzer.postmortem.mismatch import Mismatch
    from offbeat.analyzer.postmortem.waits import Wait


class Why(StrEnum):
    """How a rank came to be named."""

    ABSENT = "absent"
    STOPPED = "stopped"
    STUCK = "stuck"
    NOT_STARTED = "not_started"
    NO_DUMP = "no_dump"
    NO_PARTNER = "no_partner"


@dataclass(slots=True)
class Root:
    """A rank that others wait for and that waits for nobody.

    `waits` are the operations that tell so, `transfers` the sends and receives that wait for it besides.
    """

    rank: int
    why: Why
    waits: list[Wait]
    confidence: float
    transfers: list[Wait] = field(default_factory=list)


@dataclass(slots=True)
class Blame:
    """The outcome. `unexplained` are the waits whose cause cannot be seen, `cycles` ranks that wait for each other."""

    roots: list[Root] = field(default_factory=list)
    explained: set[Wait] = field(default_factory=set)
    transport: list[Wait] = field(default_factory=list)
    cycles: list[list[Wait]] = field(default_factory=list)
    unexplained: list[Wait] = field(default_factory=list)


def assign(
    waits: Sequence[Wait], comms: Sequence[Communicator], mismatches: Sequence[Mismatch], silent: Mapping[int, str]
) -> Blame:
    """Find the roots of *waits*.

    Args:
        waits: Who waits where.
        comms: The communicators they wait in, and all others.
        mismatches: Disagreements already found; what follows from them is explained.
        silent: Ranks that left nothing usable, with the reason (`no dump`, or what makes theirs useless).
    """
    graph = WaitGraph(waits)
    blame = Blame()
    told = [w for w in waits for m in mismatches if not m.finished and w.comm is m.comm and w.seq >= m.seq]
    blame.explained = graph.backwards(told)
    deviants = {rank for m in mismatches if not m.finished for rank in m.deviants}
    roots = [root for root in _collective_roots(graph, mismatches, Trails(comms)) if root.rank not in deviants]
    roots = [root for root in roots if any(w not in told for w in root.waits)]
    _take(blame, graph, roots)
    _take(blame, graph, _lost(graph, blame, silent))
    _take(blame, graph, _self_held(graph, blame))
    _take(blame, graph, _not_started(graph, blame))
    if not blame.roots and not told:
        _take(blame, graph, _partners(graph, blame))
    _sort_rest(graph, blame)
    return blame


def _take(blame: Blame, graph: WaitGraph, roots: Iterable[Root]) -> None:
    fresh = list(roots)
    blame.roots += fresh
    for root in fresh:
        mine = {id(wait) for wait in root.waits}
        root.transfers = [
            w for w in graph.waits if w.p2p and id(w) not in mine and root.rank in (*w.absent, *w.unknown)
        ]
    blame.explained |= graph.backwards({w for root in fresh for w in (*root.waits, *root.transfers)})


def _collective_roots(graph: WaitGraph, mismatches: Sequence[Mismatch], trails: Trails) -> list[Root]:
    """Ranks missing from a collective that wait for nobody themselves, or whose own device stands still."""
    stuck = _stuck(graph, mismatches)
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if wait.p2p:
            continue
        for rank in (*wait.absent, *wait.behind):
            if rank in stuck:
                why, confidence = Why.STUCK, 0.9
            elif rank not in graph.of_rank:
                why, confidence = Why.ABSENT, _surety(wait, wait.comm.parts[rank])
            elif rank in wait.absent and trails.stopped_alone(rank):
                why, confidence = Why.STOPPED, 0.8
            else:
                continue
            root = found.setdefault(rank, Root(rank, why, [], confidence))
            root.waits.append(wait)
    return list(found.values())


def _surety(wait: Wait, part: Part) -> float:
    """Return how sure it is that a member has not entered a call: seen by its operations, its counters, or neither."""
    if wait.failed:
        return 0.6
    if part.launched is None:
        return 0.85
    return 0.9 if part.counted else 0.95


def _stuck(graph: WaitGraph, mismatches: Sequence[Mismatch]) -> set[int]:
    """Return ranks with an open collective that other members have finished: the device stands, the host went on.

    Only where nobody can finish before all have entered, and where the others have stopped at one place.
    """
    disputed = {(id(m.comm), m.seq) for m in mismatches}
    found: set[int] = set()
    for wait in graph.waits:
        if len(wait.passed) < len(wait.waiting) or not wait.synchronising or (id(wait.comm), wait.seq) in disputed:
            continue
        fronts = {w.seq for w in graph.waits if w.comm is wait.comm and not w.p2p and w is not wait}
        if len(fronts) <= 1 and all(wait.comm.parts[rank].ordered for rank in wait.waiting):
            found.update(wait.waiting)
    return found


def _lost(graph: WaitGraph, blame: Blame, silent: Mapping[int, str]) -> list[Root]:
    """Ranks without a dump that others wait for in a collective which nothing else explains."""
    open_ = [w for w in graph.waits if w not in blame.explained and not w.p2p and not (w.absent or w.behind)]
    held = [w for w in open_ if w.unknown and all(silent.get(rank) == "no dump" for rank in w.unknown)]
    found: dict[int, Root] = {}
    for wait in held:
        ahead = graph.forwards(wait)
        if any(other in ahead and graph.circles[other] != graph.circles[wait] for other in held):
            continue
        for rank in wait.unknown:
            found.setdefault(rank, Root(rank, Why.NO_DUMP, [], 0.6)).waits.append(wait)
    return list(found.values())


def _self_held(graph: WaitGraph, blame: Blame) -> list[Root]:
    """Ranks missing from a collective whose only open operations are p2p that wait for the very ranks they hold up."""
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if wait in blame.explained or wait.p2p:
            continue
        for rank in (*wait.absent, *wait.behind):
            mine = graph.of_rank.get(rank, [])
            if mine and all(w.p2p and graph.circles[w] == graph.circles[wait] for w in mine):
                found.setdefault(rank, Root(rank, Why.STOPPED, [], 0.7)).waits.append(wait)
    return list(found.values())


def _not_started(graph: WaitGraph, blame: Blame) -> list[Root]:
    """Ranks that launched a collective which the others' devices have begun and theirs has not."""
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if wait in blame.explained or wait.p2p or graph.next[wait] or wait.unknown or wait.passed:
            continue
        late = [rank for rank, entry in wait.waiting.items() if not entry.started]
        if 0 < len(late) < len(wait.waiting) / 2 + 0.5 and len(late) < len(wait.waiting):
            for rank in late:
                found.setdefault(rank, Root(rank, Why.NOT_STARTED, [], 0.8)).waits.append(wait)
    return list(found.values())


def _partners(graph: WaitGraph, blame: Blame) -> list[Root]:
    """Where only p2p waits are left: the ranks that owe a send or receive and have nothing open at all."""
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if wait.p2p and wait not in blame.explained:
            for rank in wait.absent:
                if rank not in graph.of_rank:
                    found.setdefault(rank, Root(rank, Why.NO_PARTNER, [], 0.6)).waits.append(wait)
    return list(found.values())


def _sort_rest(graph: WaitGraph, blame: Blame) -> None:
    rest = {w for w in graph.waits if w not in blame.explained}
    for wait in graph.waits:
        if wait in rest and not graph.next[wait] and not (wait.absent or wait.behind or wait.unknown):
            blame.transport.append(wait)
    rest -= graph.backwards(blame.transport)
    circles: dict[int, list[Wait]] = {}
    for wait in graph.waits:
        if wait in rest:
            circles.setdefault(graph.circles[wait], []).append(wait)
    for number, circle in circles.items():
        closed = all(graph.circles[h] == number for wait in circle for h in graph.next[wait])
        if len(circle) > 1 and closed and all(wait.absent and not wait.p2p for wait in circle):
            blame.cycles.append(circle)
    rest -= graph.backwards([wait for circle in blame.cycles for wait in circle])
    blame.unexplained = [w for w in graph.waits if w in rest]
