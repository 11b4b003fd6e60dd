"""The findings for ranks that do not make the same calls in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem import wording
from offbeat.analyzer.postmortem.blame import few_against_many
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.postmortem.graph import WaitGraph
    from offbeat.analyzer.postmortem.mismatch import Mismatch
    from offbeat.analyzer.postmortem.waits import Wait

SHOWN = 8
"""Steps of a circle told as evidence; the rest only repeats them."""
_ADVICE = Advice(Action.FIX_WORKLOAD, "the program's ranks do not make the same calls in the same order")


def finding(mismatch: Mismatch, graph: WaitGraph) -> Finding:
    """Return the finding for members that entered different calls."""
    comm, seq, deviants = mismatch.comm, mismatch.seq, mismatch.deviants
    waits = [w for w in graph.waits if w.comm is comm and w.seq >= seq]
    victims = {r for w in graph.backwards(waits) for r in w.waiting} | {r for _, ranks in mismatch.calls for r in ranks}
    sides = "; ".join(f"{wording.ranks(ranks)} entered {call}" for call, ranks in mismatch.calls)
    who = "the members disagree"
    if deviants:
        who = f"{wording.ranks(deviants)} {'disagrees' if len(deviants) == 1 else 'disagree'} with the others"
    end = "it finished, but what it computed is undefined" if mismatch.finished else "nobody can finish it"
    data = {"communicator": comm.label, "seq": seq, "calls": [[call, list(ranks)] for call, ranks in mismatch.calls]}
    return Finding(
        id=f"hang.mismatch-{'-'.join(map(str, deviants[:8])) or comm.name}",
        fault=FaultClass.HANG_MISMATCH,
        severity=Severity.WARNING if mismatch.finished else Severity.CRITICAL,
        summary=f"In {comm.label} {who} on the {mismatch.what} of call {seq}: {end}.",
        advice=_ADVICE,
        culprits=Culprits(ranks=deviants),
        victims=() if mismatch.finished else tuple(sorted(victims - set(deviants))),
        evidence=(
            Evidence("mismatch", f"call {seq} of {comm.label}: {sides}", data),
            Evidence("mismatch.why", mismatch.why),
        ),
        confidence=mismatch.confidence,
        started_at=min((w.since for w in waits if w.since is not None), default=None),
    )


def circle(waits: Sequence[Wait]) -> Finding:
    """Return the finding for ranks that wait for each other, each in another operation."""
    involved = sorted({r for w in waits for r in w.waiting})
    deviants = {rank for _, rank in few_against_many(waits)}
    steps = [
        f"{wording.ranks(w.waiting)} in {w.entry.op} {w.seq} of {w.comm.label}, for "
        f"{wording.ranks((*w.absent, *w.behind, *w.queued))}"
        for w in waits
        if w.absent or w.behind
    ]
    who = "their calls differ in order"
    if deviants:
        who = f"{wording.ranks(deviants)} went on to another call than the others"
    return Finding(
        id=f"hang.mismatch-circle-{'-'.join(map(str, involved[:8]))}",
        fault=FaultClass.HANG_MISMATCH,
        severity=Severity.CRITICAL,
        summary=f"{wording.ranks(involved).capitalize()} wait for each other in a circle: {who}.",
        advice=_ADVICE,
        culprits=Culprits(ranks=tuple(sorted(deviants))),
        victims=tuple(rank for rank in involved if rank not in deviants),
        evidence=tuple(Evidence("wait.circle", step) for step in steps[:SHOWN]),
        confidence=0.75 if deviants else 0.8,
        started_at=min((w.since for w in waits if w.since is not None), default=None),
    )
