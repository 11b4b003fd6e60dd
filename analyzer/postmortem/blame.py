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
from offbeat.analyzer.postmortem.signatures import synchronising

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator, Part
    from offbeat.analyzer.postmortem.mismatch import Mismatch
    from offbeat.analyzer.postmortem.waits import Wait

NO_DUMP = "no dump"
"""Why a rank is silent that left nothing at all."""


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

    `waits` are the operations that tell so, `transfers` the sends and receives that wait for it besides, `held` what
    its own device stands in.
    """

    rank: int
    why: Why
    waits: list[Wait]
    confidence: float
    transfers: list[Wait] = field(default_factory=list)
    held: Wait | None = None


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
    trails = Trails(comms)
    roots = [root for root in _collective_roots(graph, mismatches, trails) if root.rank not in deviants]
    roots = [root for root in roots if any(w not in told for w in root.waits)]
    _take(blame, graph, roots)
    everybody = {rank for comm in comms for rank in comm.members}
    if 1 < sum(why == NO_DUMP for why in silent.values()) >= len(everybody) / 2:
        silent = {}  # where so many left none, that a rank left none says nothing
    _take(blame, graph, _lost(graph, blame, silent))
    _take(blame, graph, _self_held(graph, blame))
    _take(blame, graph, _few_missing(graph, blame, trails))
    _take(blame, graph, _not_started(graph, blame))
    if not blame.roots and not told:
        _take(blame, graph, _partners(graph, blame, silent))
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
    stands = [w for root in fresh if root.held is not None for w in graph.of_rank[root.rank]]
    blame.explained |= graph.backwards({*stands, *(w for root in fresh for w in (*root.waits, *root.transfers))})


def _collective_roots(graph: WaitGraph, mismatches: Sequence[Mismatch], trails: Trails) -> list[Root]:
    """Ranks missing from a collective that wait for nobody themselves, or whose own device stands still."""
    stuck = _stuck(graph, mismatches)
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if wait.p2p:
            continue
        for rank in (*wait.absent, *wait.behind, *wait.queued):
            if rank in stuck:
                why, confidence = Why.STUCK, 0.9
            elif rank in wait.queued:
                continue
            elif rank not in graph.of_rank:
                why, confidence = Why.ABSENT, _surety(wait, wait.comm.parts[rank])
            elif rank in wait.absent and trails.stopped_alone(rank):
                why, confidence = Why.STOPPED, 0.8
            else:
                continue
            root = found.setdefault(rank, Root(rank, why, [], confidence, held=stuck.get(rank)))
            if len(wait.waiting) > 1 or rank not in wait.waiting:
                root.waits.append(wait)
    return [root for root in found.values() if root.waits]


def _surety(wait: Wait, part: Part) -> float:
    """Return how sure it is that a member has not entered a call: seen by its operations, its counters, or neither."""
    if wait.failed:
        return 0.6
    if part.launched is None:
        return 0.85
    return 0.9 if part.counted else 0.95


def _stuck(graph: WaitGraph, mismatches: Sequence[Mismatch]) -> dict[int, Wait]:
    """Return ranks with an open collective that other members have finished: the device stands, the host went on.

    Only where nobody can finish before all have entered, and where the others have stopped at one place.

    Returns:
        Rank → the oldest operation that is open there.
    """
    disputed = {(id(m.comm), m.seq) for m in mismatches}
    found: dict[int, Wait] = {}
    for wait in graph.waits:
        fronts = {w.seq for w in graph.waits if w.comm is wait.comm and not w.p2p and w is not wait}
        if wait.p2p or len(fronts) > 1 or (id(wait.comm), wait.seq) in disputed:
            continue
        if all(_finished_elsewhere(wait, rank) for rank in wait.waiting):
            for rank, entry in wait.waiting.items():
                if rank not in found or entry.record < found[rank].waiting[rank].record:
                    found[rank] = wait
    return found


def _finished_elsewhere(wait: Wait, rank: int) -> bool:
    """Whether as many members as are stuck in *wait* finished its first call that none can finish before all entered.

    A broadcast may come before that call: its root does not wait for anybody.
    """
    part = wait.comm.parts[rank]
    call = next((entry for entry in part.waits if synchronising(entry)), None)
    if call is None or not part.ordered:
        return False
    passed = sum(other.finished(call.seq) for r, other in wait.comm.parts.items() if r not in wait.waiting)
    return passed >= len(wait.waiting)


def _lost(graph: WaitGraph, blame: Blame, silent: Mapping[int, str]) -> list[Root]:
    """Ranks without a dump that others wait for in a collective which nothing else explains."""
    open_ = [w for w in graph.waits if w not in blame.explained and not w.p2p and not (w.absent or w.behind)]
    held = [w for w in open_ if w.unknown and all(silent.get(rank) == NO_DUMP for rank in w.unknown)]
    found: dict[int, Root] = {}
    for wait in held:
        ahead = graph.forwards(wait)
        if any(other in ahead and graph.circles[other] != graph.circles[wait] for other in held):
            continue
        if len(wait.unknown) > 1 and 2 * len(wait.unknown) >= len(wait.comm.members):
            continue  # where one crashes its peers do, too
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


def _few_missing(graph: WaitGraph, blame: Blame, trails: Trails) -> list[Root]:
    """Ranks in a circle of collectives that came to where the others wait for them, and launched nothing after.

    Those that went on to another call instead are no such ranks: the circle itself says what they did.
    """
    found: dict[int, Root] = {}
    for circle in _circles(graph, set(graph.waits) - blame.explained):
        for wait, rank in few_against_many(circle):
            if not trails.went_past(rank, wait):
                found.setdefault(rank, Root(rank, Why.STOPPED, [], 0.65)).waits.append(wait)
    return list(found.values())


def _circles(graph: WaitGraph, left: set[Wait]) -> list[list[Wait]]:
    """Return the circles among *left* that nothing outside them holds up, and that hold two collectives at least."""
    circles: dict[int, list[Wait]] = {}
    for wait in graph.waits:
        if wait in left:
            circles.setdefault(graph.circles[wait], []).append(wait)
    return [
        circle
        for number, circle in circles.items()
        if all(graph.circles[h] == number for wait in circle for h in graph.next[wait])
        and not any(wait.unknown for wait in circle)
        and sum(bool(wait.absent) and not wait.p2p for wait in circle) > 1
    ]


def few_against_many(circle: Sequence[Wait]) -> list[tuple[Wait, int]]:
    """Return the smallest set of ranks that most members of a collective wait for, each with that collective.

    Nothing where two such sets are equally small: then either may have done the wrong thing.
    """
    held = [w for w in circle if w.absent and not w.p2p]
    least = min((len(w.absent) for w in held), default=0)
    held = [w for w in held if len(w.absent) == least]
    if len({w.absent for w in held}) != 1 or all(len(w.absent) >= len(w.waiting) for w in held):
        return []
    return [(w, rank) for w in held for rank in w.absent]


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


def _partners(graph: WaitGraph, blame: Blame, silent: Mapping[int, str]) -> list[Root]:
    """Where only p2p waits are left: the ranks that owe a send or receive and have nothing open at all, or no dump."""
    found: dict[int, Root] = {}
    for wait in graph.waits:
        if not wait.p2p or wait in blame.explained:
            continue
        for rank in wait.absent:
            if rank not in graph.of_rank:
                found.setdefault(rank, Root(rank, Why.NO_PARTNER, [], 0.6)).waits.append(wait)
        for rank in wait.unknown:
            if silent.get(rank) == NO_DUMP:
                found.setdefault(rank, Root(rank, Why.NO_DUMP, [], 0.55)).waits.append(wait)
    return list(found.values())


def _sort_rest(graph: WaitGraph, blame: Blame) -> None:
    rest = {w for w in graph.waits if w not in blame.explained}
    for wait in graph.waits:
        held = wait.absent or wait.behind or wait.unknown or wait.comm.partial
        if wait in rest and not graph.next[wait] and not held:
            blame.transport.append(wait)
    rest -= graph.backwards(blame.transport)
    # Where transfers and queued calls take part, devices that stand make circles, too.
    blame.cycles = [c for c in _circles(graph, rest) if all(w.absent and not w.p2p for w in c) or few_against_many(c)]
    rest -= graph.backwards([wait for circle in blame.cycles for wait in circle])
    blame.unexplained = [w for w in graph.waits if w in rest]
