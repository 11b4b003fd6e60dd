"""Slow workers in a straggler trace: own computing time against ranks of the same role, workload causes apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.postmortem import wording
from offbeat.analyzer.postmortem.own_time import lengths, own_times
from offbeat.analyzer.postmortem.whatif import WhatIf
from offbeat.analyzer.postmortem.workload import uneven_sequences, uneven_stage
from offbeat.model import Abstention, Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from offbeat.analyzer.postmortem.own_time import Own
    from offbeat.analyzer.readers.straggler import StragglerTrace

LEAST_STEPS = 3
"""Steps below which nothing is concluded: one slow step is jitter."""
SLOWER = 1.05
"""Own time against that of the same role from which a rank is slow."""
ERRORS = 4.0
"""… and by so many standard errors of the ratio's median."""
PERSISTENT = 0.7
"""Share of steps in which it must be slow."""


@dataclass(slots=True)
class Outcome:
    """What a trace tells; `length` are the steps' lengths, seconds."""

    findings: list[Finding]
    abstained: list[Abstention]
    ranks: int
    length: list[float]


def judge(trace: StragglerTrace) -> Outcome:
    """Judge a trace."""
    own = own_times(trace)
    outcome = Outcome([], [], len(own.rank), lengths(trace))
    if len(own.steps) < LEAST_STEPS or len(own.replicas) < 2:
        outcome.abstained.append(
            Abstention("whether any rank is slow", f"fewer than {LEAST_STEPS} steps, or no two replicas of a stage")
        )
        return outcome
    slow = list(_slow(own))
    outcome.findings += slow
    if (stage := uneven_stage(own)) is not None:
        outcome.findings.append(stage)
    if not slow and (moving := uneven_sequences(trace, own)) is not None:
        outcome.findings.append(moving)
    outcome.findings = _with_cost(trace, own, outcome.findings)
    return outcome


def _with_cost(trace: StragglerTrace, own: Own, findings: list[Finding]) -> list[Finding]:
    """Return *findings*, those that name ranks or a stage with what they cost the job."""
    whatif = WhatIf(trace) if findings else None
    cost = whatif.cost() if whatif else None
    if whatif is None or cost is None:
        return findings
    place = {rank: at for at, rank in own.rank.items()}
    common = {
        "slowdown": round(cost.slowdown, 4), "m_w": round(cost.workers, 4), "m_s": round(cost.last_stage, 4),
        "step_seconds": round(cost.modelled, 4), "ideal_seconds": round(cost.ideal, 4),
    }  # fmt: skip
    out = []
    for finding in findings:
        stages = {e.data["stage"] for e in finding.evidence if finding.fault is FaultClass.WORKLOAD_STAGE_IMBALANCE}
        ideal = [w for w in whatif.workers if w[0] in stages or w in {place.get(r) for r in finding.culprits.ranks}]
        if not ideal:
            out.append(finding)
            continue
        share = max(1 - whatif.seconds(ideal) / cost.modelled, 0.0)
        text = (
            f"{100 * share:.1f} % of the job's time: with this as quick as the rest a step would take "
            f"{cost.modelled * (1 - share):.2f} s instead of {cost.modelled:.2f} s "
            f"({share * len(own.rank):.1f} of every {len(own.rank)} GPU-hours of the recorded ranks)"
        )
        data = {"share": round(share, 4), "gpu_hours_per_hour": round(share * len(own.rank), 2), **common}
        out.append(replace(finding, evidence=(*finding.evidence, Evidence("cost", text, data))))
    return out


def _slow(own: Own) -> Iterable[Finding]:
    for s, stage in enumerate(own.stages):
        for d, replica in enumerate(own.replicas):
            times, peers = own.seconds[:, s, d], np.delete(own.seconds[:, s, :], d, axis=1)
            known = np.isfinite(times) & np.isfinite(peers).any(axis=1)
            if known.sum() < LEAST_STEPS:
                continue
            ratio = times[known] / np.nanmedian(peers[known], axis=1)
            middle, often = float(np.median(ratio)), float(np.mean(ratio > 1 + (SLOWER - 1) / 2))
            error = 1.2533 * float(np.std(ratio)) / np.sqrt(len(ratio))  # of a median
            if middle < max(SLOWER, 1 + ERRORS * error) or often < PERSISTENT:
                continue
            rank = own.rank[stage, replica]
            others = [own.rank[stage, r] for r in own.replicas if r != replica and (stage, r) in own.rank]
            text = (
                f"stage {stage}: rank {rank} computes {np.nanmedian(times):.2f} s a step, {wording.ranks(others)} "
                f"{np.nanmedian(peers):.2f} s; so in {often:.0%} of {len(ratio)} steps"
            )
            data = {"stage": stage, "replica": replica, "ratio": round(middle, 4), "steps": len(ratio)}
            yield _finding(own, rank, Evidence("own_time", text, data), middle, often)


def _finding(own: Own, rank: int, evidence: Evidence, ratio: float, often: float) -> Finding:
    return Finding(
        id=f"slow.compute-{rank}",
        fault=FaultClass.SLOW_COMPUTE,
        severity=Severity.WARNING,
        summary=f"Rank {rank} computes {ratio:.2f} times as long as the other replicas of its pipeline stage.",
        advice=Advice(
            Action.INSPECT, f"compare GPU clocks, temperature and processes of rank {rank} with its replicas'"
        ),
        culprits=Culprits(ranks=(rank,)),
        victims=tuple(sorted(set(own.rank.values()) - {rank})),
        evidence=(evidence,),
        slowdown=round(ratio, 3),
        confidence=0.97 if often > 0.95 else 0.9,
    )
