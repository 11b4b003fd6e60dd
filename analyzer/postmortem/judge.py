"""From a set of Flight Recorder dumps of one job to what can be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem import (
    absent,
    disagreement,
    failures,
    freshness,
    mismatch,
    snapshot,
    transport,
    waits,
    wording,
)
from offbeat.analyzer.postmortem.blame import NO_DUMP, Blame, assign
from offbeat.analyzer.postmortem.communicators import Communicator, assemble
from offbeat.analyzer.postmortem.graph import WaitGraph
from offbeat.model import Abstention

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from offbeat.analyzer.postmortem.waits import Wait
    from offbeat.analyzer.readers.dumps import Dump
    from offbeat.model import Finding


@dataclass(slots=True)
class Verdict:
    """What a set of dumps tells."""

    findings: list[Finding] = field(default_factory=list)
    abstained: list[Abstention] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    communicators: int = 0


def judge(dumps: Sequence[Dump]) -> Verdict:
    """Judge one job's dumps, one a rank."""
    verdict = Verdict()
    by_rank = {dump.rank: dump for dump in dumps}
    comms = assemble(dumps)
    verdict.communicators = len(comms)
    silent = _silent(by_rank, comms)
    differing, misaligned = mismatch.find(comms, set(by_rank))
    judged = [comm for comm in comms if comm not in misaligned]
    old = freshness.outdated(judged)
    earlier = freshness.earlier(dumps)
    silent |= {rank: NO_DUMP if rank in earlier else "an older dump" for rank in old}
    trusted = set(by_rank) - set(silent)
    if old:
        differing, _ = mismatch.find(judged, trusted)
    if not differing:
        failures.reopen(judged, by_rank, trusted)
    found = waits.find(judged, trusted)
    if found and snapshot.running(dumps):
        verdict.warnings.append("the dumps were taken of a running job: what was open in them was under way")
        found = []
    blame = assign(found, judged, differing, silent)
    graph = WaitGraph(found)
    verdict.findings += [disagreement.finding(m, graph) for m in differing]
    if snapshot.crowded(blame.roots, len(by_rank)):
        verdict.abstained.append(
            Abstention(
                f"whether {wording.ranks(root.rank for root in blame.roots)} stopped",
                "too many for one hang, each at another place: the dumps may be of a running job, taken one by one",
            )
        )
    else:
        verdict.findings += absent.findings(blame.roots, graph)
    verdict.findings += [disagreement.circle(circle) for circle in blame.cycles]
    _transport(verdict, blame, graph, by_rank)
    _explain(verdict, blame, by_rank, silent, old)
    for comm in misaligned:
        verdict.abstained.append(
            Abstention(f"who waits in {comm.label}", "its members' sequence numbers do not mean the same calls")
        )
    for m in differing:
        if not m.deviants:
            verdict.abstained.append(Abstention(f"which members of {m.comm.label} made the wrong call", m.why))
    return verdict


def _silent(by_rank: Mapping[int, Dump], comms: Sequence[Communicator]) -> dict[int, str]:
    """Return ranks that left nothing usable."""
    members = {rank for comm in comms for rank in comm.members}
    silent = dict.fromkeys(sorted(members - by_rank.keys()), NO_DUMP)
    return silent | {rank: NO_DUMP for rank, dump in by_rank.items() if dump.empty}


def _transport(verdict: Verdict, blame: Blame, graph: WaitGraph, by_rank: Mapping[int, Dump]) -> None:
    late, unknown = [], []
    usual = transport.usual(by_rank.values()) if blame.transport else 0.0
    # Beside a rank that stopped, a transfer that both ends entered is one that the pipeline behind it does not reach.
    for wait in (w for w in blame.transport if not (blame.roots and w.p2p)):
        overdue = transport.overdue(wait, by_rank, usual)
        if overdue:
            late.append(wait)
        elif overdue is None and not wait.passed:  # else it was just ending
            unknown.append(wait)
    if late:
        verdict.findings.append(transport.finding(late, graph))
        verdict.abstained.append(
            Abstention(
                f"on which link or rank {transport.name(late[0])} stands still",
                "a Flight Recorder dump does not see transfers; the NCCL profiler plugin or TCP statistics would tell",
            )
        )
    elif unknown and not verdict.findings:
        verdict.abstained.append(
            Abstention(
                f"whether {transport.name(unknown[0])} was stuck or merely running",
                f"all of {wording.ranks(unknown[0].waiting)} entered it and none finished, but the dumps do not say "
                "when they were taken; a second dump, transfer progress or TCP statistics would tell",
            )
        )


def _explain(
    verdict: Verdict, blame: Blame, by_rank: Mapping[int, Dump], silent: Mapping[int, str], old: Mapping[int, str]
) -> None:
    named = {rank for finding in verdict.findings for rank in finding.culprits.ranks}
    missing = sorted(rank for rank, why in silent.items() if why == NO_DUMP and rank not in by_rank)
    empty = sorted(rank for rank in silent if rank in by_rank and by_rank[rank].empty)
    if all(dump.empty and not dump.configs for dump in by_rank.values()):
        verdict.abstained.append(Abstention("how the job stood", "no dump says anything of what its process did"))
    if missing:
        verdict.warnings.append(f"no dump of {wording.ranks(missing)}")
    if empty:
        verdict.warnings.append(f"the dump of {wording.ranks(empty)} says nothing")
    verdict.warnings += [f"older than the others: {why}" for why in list(old.values())[:4]]
    unheard = [rank for rank in (*missing, *empty) if rank not in named]
    if unheard and any(dump.library == "gloo" for dump in by_rank.values()) and not verdict.findings:
        verdict.abstained.append(
            Abstention(
                f"whether {wording.ranks(unheard)} stopped",
                "no dump tells, and gloo marks a call that failed as finished",
            )
        )
    open_ = [w for w in blame.unexplained if not w.p2p]
    _unexplained(verdict, open_ or blame.unexplained, by_rank, silent)


def _unexplained(
    verdict: Verdict, left: Sequence[Wait], by_rank: Mapping[int, Dump], silent: Mapping[int, str]
) -> None:
    if not left or verdict.findings:
        return
    unsure = sorted({rank for wait in left for rank in (*wait.unknown, *wait.absent)})
    old = [rank for rank in unsure if silent.get(rank) == "an older dump"]
    waiting = {rank for wait in left for rank in wait.waiting}
    if old and (len(waiting) < 2 or 2 * len(old) >= len(by_rank)):
        return  # the job went on between the dumps: it was running
    why = "their dumps are older than the others'" if old else "they left no dump, or none that tells how far they got"
    verdict.abstained.append(
        Abstention(
            f"why {wording.ranks(waiting)} waited in {transport.name(left[0])}",
            _dependence(left, unsure, why),
        )
    )


def _dependence(left: Sequence[Wait], unsure: Sequence[int], why: str) -> str:
    if unsure:
        return f"it depends on {wording.ranks(unsure)}: {why}"
    if any(wait.comm.partial for wait in left):
        return "no dump lists the members of that group, and some of them may have left none"
    return "nothing recorded explains it"
