"""The finding for ranks that others wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offbeat.analyzer.postmortem import wording
from offbeat.analyzer.postmortem.blame import Why
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from offbeat.analyzer.postmortem.blame import Root
    from offbeat.analyzer.postmortem.graph import WaitGraph
    from offbeat.analyzer.postmortem.waits import Wait

SHOWN = 4
"""Waits told as evidence of one rank; the rest only repeats them."""
CROWD = 0.7
"""What remains of the confidence when most members are missing: then it may be the few who called too much."""


def findings(roots: Sequence[Root], graph: WaitGraph) -> list[Finding]:
    """Return one finding for each set of *roots* that are missing from the same operations."""
    return [_finding(cluster, graph) for cluster in _clusters(roots)]


def _clusters(roots: Sequence[Root]) -> list[list[Root]]:
    clusters: list[tuple[set[int], list[Root]]] = []
    for root in sorted(roots, key=lambda r: r.rank):
        mine = {id(wait) for wait in root.waits}
        joined = [c for c in clusters if c[0] & mine]
        clusters = [c for c in clusters if not c[0] & mine]
        clusters.append((mine.union(*(c[0] for c in joined)), [r for c in joined for r in c[1]] + [root]))
    return [roots for _, roots in clusters]


def _finding(roots: list[Root], graph: WaitGraph) -> Finding:
    culprits = tuple(sorted(root.rank for root in roots))
    waits = list({id(w): w for root in roots for w in root.waits}.values())
    held = graph.backwards([*waits, *(w for root in roots for w in root.transfers)])
    victims = sorted({r for w in held for r in w.waiting} - set(culprits))
    evidence = [item for root in roots for item in _evidence(root)]
    if indirect := _indirect(waits, held, culprits):
        evidence.append(indirect)
    first = min(waits, key=lambda w: w.since or 0)
    confidence = min(root.confidence for root in roots)
    if any(len(w.absent) + len(w.behind) + len(w.unknown) > max(1, len(w.comm.members) // 2) for w in waits):
        confidence *= CROWD
    silent = [root.rank for root in roots if root.why is Why.NO_DUMP]
    lost = f" {wording.ranks(silent).capitalize()} left no dump." if silent else ""
    return Finding(
        id=f"hang.not_entered-{'-'.join(map(str, culprits[:8]))}",
        fault=FaultClass.HANG_NOT_ENTERED,
        severity=Severity.CRITICAL,
        summary=(
            f"{wording.ranks(culprits).capitalize()} stopped: {wording.ranks(victims)} "
            f"{'waits' if len(victims) == 1 else 'wait'} for {'it' if len(culprits) == 1 else 'them'} "
            f"in {first.entry.op} {first.seq} of {first.comm.label} and what follows.{lost}"
        ),
        advice=Advice(
            Action.INSPECT,
            f"look at the process, GPU and kernel log of {wording.ranks(culprits)}; all others only wait",
        ),
        culprits=Culprits(ranks=culprits),
        victims=tuple(victims),
        evidence=tuple(evidence),
        confidence=round(confidence, 2),
        started_at=min((w.since for w in waits if w.since is not None), default=None),
    )


def _evidence(root: Root) -> Iterable[Evidence]:
    for wait in sorted(root.waits, key=lambda w: w.since or 0)[:SHOWN]:
        yield Evidence(f"wait.{root.why}", f"{_reason(root, wait)}; {_crowd(wait)}", _figures(root, wait))
    if (left := len(root.waits) - SHOWN) > 0:
        yield Evidence("wait.more", f"likewise in {wording.count(left, 'more operation')} for rank {root.rank}")


def _reason(root: Root, wait: Wait) -> str:
    rank, label, part = root.rank, wait.comm.label, wait.comm.parts.get(root.rank)
    call = f"{wait.entry.op} {wait.seq} of {label}"
    match root.why:
        case Why.NO_DUMP:
            return f"rank {rank} left no dump, and nothing else holds up {call}"
        case Why.NO_PARTNER:
            assert wait.peers is not None
            return f"rank {rank} has nothing in flight and has not called its side of {wait.entry.native} in {label}"
        case Why.NOT_STARTED:
            return f"rank {rank} launched {call}, but its device has not begun it while the others' have"
        case _:
            pass
    assert part is not None
    last = "its dump shows nothing of this group"
    if part.launched is not None:
        unused = part.launched < 1 and not part.ops
        last = "it never used this group" if unused else f"its last is {part.launched}"
    if part.counted:
        last += ", by its counters: it dumped no operation of this group"
    if root.held is not None:
        held = f"{root.held.waiting[rank].op} {root.held.seq} of {root.held.comm.label}"
        return (
            f"rank {rank} still has {held} open, which others have finished, "
            f"and {'never launched' if rank in wait.absent else 'so has not reached'} {call}"
        )
    went_on = " although the others went on from where it stands" if root.why is Why.STOPPED else ""
    return f"rank {rank} never launched {call} ({last}){went_on}"


def _crowd(wait: Wait) -> str:
    verb = "has waited" if len(wait.waiting) == 1 else "have waited"
    if wait.failed:
        verb = "gave up (gloo marks a failed call as finished), having waited"
    return f"{wording.ranks(wait.waiting)} {verb} in it since {wording.clock(wait.since)}"


def _figures(root: Root, wait: Wait) -> dict[str, Any]:
    part = wait.comm.parts.get(root.rank)
    return {
        "rank": root.rank,
        "communicator": wait.comm.label,
        "members": list(wait.comm.members),
        "op": wait.entry.op,
        "seq": wait.seq,
        "last_launched": part.launched if part is not None else None,
        "last_finished": part.done if part is not None else None,
        "waiting": sorted(wait.waiting),
    }


def _indirect(waits: list[Wait], everything: set[Wait], culprits: tuple[int, ...]) -> Evidence | None:
    downstream = everything - set(waits)
    told = {r for w in waits for r in w.waiting}.union(culprits)
    held = sorted({r for w in downstream for r in w.waiting} - told)
    if not held:
        return None
    p2p = sum(w.p2p for w in downstream)
    text = (
        f"{wording.ranks(held)} {'waits' if len(held) == 1 else 'wait'} for those in turn, "
        f"in {wording.count(len(downstream), 'operation')} ({p2p} of them sends or receives)"
    )
    return Evidence("wait.downstream", text, {"ranks": held})
