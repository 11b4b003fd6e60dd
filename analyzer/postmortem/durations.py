"""What is said about a job of which only the durations of its collectives are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine.columns import ints, words
from offbeat.analyzer.postmortem import wording
from offbeat.analyzer.postmortem.lateness import HELD, LEAST_CALLS, Late, grown, late_ranks, roots
from offbeat.analyzer.postmortem.phases import Phase, phases
from offbeat.model import Abstention, Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

SHOWN = 3
"""Phases told as evidence of one rank."""
HIDDEN = 1.25
"""Growth of a late rank's own duration from which somebody that left no log must have come later still."""
TAIL = 2
"""Calls that a member's log may end before the others': logs are written in turns."""
SILENT_NS = 1_000_000_000
"""Least third of the time by which a log must end earlier; writers pause for longer than their usual interval."""


@dataclass(slots=True)
class Outcome:
    """What durations tell."""

    findings: list[Finding] = field(default_factory=list)
    abstained: list[Abstention] = field(default_factory=list)


def judge(collectives: pa.Table, sizes: Mapping[str, int], hosts: Mapping[int, str]) -> Outcome:
    """Judge the durations in *collectives*.

    Args:
        collectives: Record table; only its durations are used.
        sizes: Communicator → how many members it has, recorded or not.
        hosts: Global rank → host.
    """
    outcome = Outcome()
    known = list(phases(collectives))
    if not known:
        outcome.abstained.append(_nothing(collectives))
        return outcome
    if max(len(phase) for phase in known) < LEAST_CALLS:
        outcome.abstained.append(
            Abstention(
                "whether any rank is late",
                f"fewer than {LEAST_CALLS} calls of a kind were recorded by two members or more",
            )
        )
        return outcome
    late = late_ranks(known)
    culprits = roots(late, known)
    mine = {rank: [one for one in late if one.rank == rank] for rank in culprits}
    for rank, ones in mine.items():
        if (hidden := _hidden(ones, sizes)) is not None:
            outcome.abstained.append(hidden)
        else:
            outcome.findings.append(_late_finding(rank, ones, sizes, hosts, sorted({one.rank for one in late})))
    if not culprits and (longer := grown(known)):
        outcome.findings.append(_grown_finding(longer))
        outcome.abstained.append(
            Abstention(
                "which link or rank makes the transfers longer",
                "durations grow alike on all members; start times, transfer records or TCP statistics would tell",
            )
        )
    outcome.abstained += _short_tails(known)
    return outcome


def _nothing(collectives: pa.Table) -> Abstention:
    ops = set(words(collectives, "op")[0]) if collectives.num_rows else set()
    if ops and ops <= {"send", "recv"}:
        why = "only sends and receives were recorded: their durations do not tell who made whom wait"
    else:
        why = "no collective was recorded by two of its members"
    return Abstention("whether any rank is late", why)


def _hidden(late: Sequence[Late], sizes: Mapping[str, int]) -> Abstention | None:
    """Return why the culprit may be a member without a log, None where the late rank's own durations rule it out."""
    worst = max(late, key=lambda one: one.lateness)
    missing = sizes.get(worst.phase.comm, 0) - len(worst.phase.ranks)
    if missing <= 0 or worst.always or worst.after <= HIDDEN * worst.before:
        return None
    return Abstention(
        f"who is late in {worst.phase.comm}",
        f"rank {worst.rank} is the last of those recorded, but its own durations grew too: one of the {missing} "
        "members without a log comes later",
    )


def _late_finding(
    rank: int, late: list[Late], sizes: Mapping[str, int], hosts: Mapping[int, str], all_late: list[int]
) -> Finding:
    late.sort(key=lambda one: -one.lateness * (one.end - one.begin))
    worst = late[0]
    missing = max(0, sizes.get(worst.phase.comm, 0) - len(worst.phase.ranks))
    confidence = 0.9 if not worst.always else 0.8
    if missing:
        confidence *= 0.85 if not worst.always else 0.6
    host = hosts.get(rank, "")
    cadence = worst.phase.cadence
    seen = worst.phase.seen
    over = worst.end < len(worst.phase) - HELD
    victims = {int(r) for one in late for r in one.phase.ranks} - set(all_late)
    evidence = [_late_evidence(one) for one in late[:SHOWN]]
    evidence.append(
        Evidence("assumption", "durations alone: it is assumed that all members leave a collective together")
    )
    if missing:
        evidence.append(
            Evidence("coverage", f"{missing} of {sizes[worst.phase.comm]} members left no log", {"missing": missing})
        )
    return Finding(
        id=f"slow.compute-{rank}",
        fault=FaultClass.SLOW_COMPUTE,
        severity=Severity.WARNING,
        summary=f"Rank {rank}{f' on {host}' if host else ''} comes {wording.seconds(worst.lateness)} late to "
        f"{worst.phase.op}: the others wait for it.",
        advice=Advice(Action.INSPECT, f"look at what rank {rank} does between collectives, and at its GPU's clocks"),
        culprits=Culprits(ranks=(rank,), hosts=(host,) if host else ()),
        victims=tuple(sorted(victims - {rank})),
        evidence=tuple(evidence),
        slowdown=round(cadence / (cadence - worst.lateness), 3) if cadence > 2 * worst.lateness else None,
        confidence=round(confidence, 2),
        started_at=_at(int(seen[worst.begin])),
        detected_at=_at(int(seen[min(worst.begin + HELD, worst.end) - 1])),
        ended_at=_at(int(seen[worst.end])) if over else None,
    )


def _late_evidence(late: Late) -> Evidence:
    phase = late.phase
    before = "from the first recorded call on" if late.always else f"(its own before: {wording.seconds(late.before)})"
    others = phase.duration[late.begin : late.end][:, phase.ranks != late.rank]
    return Evidence(
        "lateness",
        f"in {late.end - late.begin} of {len(phase)} calls of {phase.label} rank {late.rank} took "
        f"{wording.seconds(late.after)}, the others {wording.seconds(float(np.nanmedian(others)))} {before}",
        {
            "communicator": phase.comm,
            "op": phase.op,
            "nbytes": phase.nbytes,
            "from_call": int(phase.number[late.begin]),
            "lateness_ns": round(late.lateness),
            "duration_ns": round(late.after),
        },
    )


def _grown_finding(longer: list[tuple[Phase, float, float, int]]) -> Finding:
    phase, before, after, begin = max(longer, key=lambda item: item[2] - item[1])
    return Finding(
        id="slow.uniform",
        fault=FaultClass.SLOW_UNIFORM,
        severity=Severity.WARNING,
        summary=f"{phase.op} takes {after / before:.1f} times as long as before on all members; no rank comes late.",
        advice=Advice(Action.INSPECT, "look at the network between the members: all wait alike"),
        victims=tuple(int(rank) for rank in phase.ranks),
        evidence=tuple(
            Evidence(
                "transfer",
                f"{p.label}: shortest duration of all members {wording.seconds(b)} before, {wording.seconds(a)} from "
                f"call {int(p.number[i])} on",
                {"communicator": p.comm, "before_ns": round(b), "after_ns": round(a)},
            )
            for p, b, a, i in longer[:SHOWN]
        ),
        slowdown=round(after / before, 3),
        confidence=0.6,
        started_at=_at(int(phase.seen[begin])),
        detected_at=_at(int(phase.seen[min(begin + LEAST_CALLS, len(phase)) - 1])),
    )


def _short_tails(known: Sequence[Phase]) -> list[Abstention]:
    """Return members whose log ends earlier than the others': what they did last never finished, or is lost."""
    written: dict[int, set[int]] = {}
    short: dict[int, str] = {}
    for phase in known:
        newest = int(phase.number[-1])
        for rank, column in zip(phase.ranks.tolist(), phase.duration.T, strict=True):
            recorded = np.nonzero(np.isfinite(column))[0]
            if not len(recorded):
                continue
            written.setdefault(rank, set()).update(phase.seen[recorded].tolist())
            last = int(phase.number[recorded[-1]])
            if newest - last > TAIL:
                short.setdefault(rank, f"its last {phase.op} is {last}, that of others {newest}")
    latest = max((max(times) for times in written.values()), default=0)
    return [
        Abstention(
            f"whether rank {rank} stopped",
            f"{text}; Inspector shows finished operations only, so it stopped there or its last records are lost",
        )
        for rank, text in sorted(short.items())
        if latest - max(written[rank]) > 3 * max(_interval(written[rank]), SILENT_NS)
    ]


def _interval(times: set[int]) -> int:
    """Return the usual time between the moments at which a log was written, ns."""
    return int(np.median(np.diff(sorted(times)))) if len(times) > 1 else 0


def _at(ns: int) -> int | None:
    return ns if ns > 0 else None


def member_counts(memberships: pa.Table) -> dict[str, int]:
    """Return communicator → size."""
    comms, comm = words(memberships, "comm")
    return {comms[c]: int(n) for c, n in zip(comm, ints(memberships, "n_ranks"), strict=True)}
