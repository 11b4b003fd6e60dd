"""slow.compute and workload.input_stall: a rank arrives late because its own time is longer.

Reads: steps, stack samples, process counters. Emits: slow.compute, workload.input_stall.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine import slowness
from offbeat.analyzer.engine.rules.common import SECOND, STARVED, cpu_wait, listing, ms, pressure, stack, whole_hosts
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.engine.slowness import Slow
    from offbeat.analyzer.engine.view import View

HOLD_NS = 2_500_000_000
"""How long a rank must stand out; shorter, and one disturbed stretch is a finding."""
HOLD_DOUBTED_NS = 6_000_000_000
"""The same where no healthy time was seen to compare with, or the rank is late only now and then."""


def judge(view: View) -> list[Suspicion]:
    """Return the ranks whose own time is longer, one suspicion a host where all its ranks' is, else one a rank."""
    found = slowness.find(view)
    hosts = whole_hosts(view, found)
    groups = [[r for r in found if view.job.host_of(r) == h] for h in hosts]
    groups += [[r] for r in found if view.job.host_of(r) not in hosts]
    return [_suspicion(view, sorted(g), {r: found[r] for r in g}) for g in groups]


def _suspicion(view: View, ranks: Sequence[int], slow: dict[int, Slow]) -> Suspicion:
    steps, normal = view.steps, view.normal
    assert steps is not None
    length, worst, since = steps.length, max(s.excess_ns for s in slow.values()), steps.since
    host = view.job.host_of(ranks[0])
    evidence = [_own_time(view, r, slow[r]) for r in ranks]
    evidence += stack(view, ranks[0], since)
    who = listing(ranks) + (f" on {host}" if host else "")
    whole = whole_hosts(view, ranks)
    stall = _input_stall(view, ranks, worst, length, since)
    starved = [] if stall else _starvation(view, ranks, worst, length, since)
    if stall:
        fault, evidence = FaultClass.WORKLOAD_INPUT_STALL, [*evidence, stall]
        summary = f"{who} waits for its input: {ms(worst)} an iteration of {ms(length)}"
        advice = Advice(Action.FIX_WORKLOAD, "the time goes into waiting for the data loader, not into computing")
    else:
        fault, evidence = FaultClass.SLOW_COMPUTE, [*evidence, *starved, *pressure(view, host, since)]
        why = "its threads wait for a CPU" if starved else "its own work between collectives takes longer"
        summary = f"{who} computes slower: {ms(worst)} more in an iteration of {ms(length)}; {why}"
        advice = Advice(Action.INSPECT, f"look at what {host or 'its host'} runs besides, at clocks and temperatures")
    return Suspicion(
        key=f"slow:{whole[0] if whole else ranks[0]}",
        fault=fault,
        severity=Severity.WARNING,
        summary=summary,
        advice=advice,
        culprits=Culprits(ranks=tuple(ranks), hosts=() if stall else whole),
        victims=tuple(r for r in sorted(view.job.ranks) if r not in slow),
        evidence=tuple(evidence),
        slowdown=length / normal.length if normal else None,
        confidence=(0.8 if starved else 0.9) if all(s.learned for s in slow.values()) else 0.75,
        started_at=since,
        hold_ns=HOLD_NS if all(s.learned and s.share > 0.99 for s in slow.values()) else HOLD_DOUBTED_NS,
        clear_ns=2 * SECOND,
    )


def _own_time(view: View, rank: int, slow: Slow) -> Evidence:
    assert view.steps is not None
    against = "than its peers, and than it used to" if slow.learned else "than its peers; no healthy time is known"
    often = "" if slow.share > 0.99 else f" in {100 * slow.share:.0f} % of steps"
    text = f"rank {rank} spends {ms(slow.excess_ns)} a step longer outside collectives {against}{often}"
    data = {"rank": rank, "excess_ns": slow.excess_ns, "share": slow.share, "steps": len(view.steps.recent.length)}
    return Evidence("own_time", text, data)


def _input_stall(view: View, ranks: Sequence[int], excess: float, length: float, since: int) -> Evidence | None:
    """Return evidence that the excess is spent waiting for data, None where nobody says so."""
    waited = view.job.inputs.shares(since, view.now)
    if waited is not None and len(waited) > max(ranks):
        others = np.median(np.delete(waited, ranks)) if len(waited) > len(ranks) else 0.0
        more = float(waited[list(ranks)].min() - others) * length
        if more < slowness.AGREES * excess:
            return None
        text = f"{listing(ranks)} waits for input {ms(float(waited[list(ranks)].min()) * length)} a step"
        return Evidence("input", f"{text}, others {ms(float(others) * length)}", {"more_ns": more})
    return _sampled_stall(view, ranks, excess, length, since)


def _sampled_stall(view: View, ranks: Sequence[int], excess: float, length: float, since: int) -> Evidence | None:
    """Return the same evidence from stack samples, where the program does not tell its phases."""
    shares = {r: f.time_in(since)[0].get("data", 0.0) for r, f in view.job.ranks.items() if f.samples}
    mine = [shares[r] for r in ranks if r in shares]
    others = [s for r, s in shares.items() if r not in ranks]
    if not mine or not others or (min(mine) - median(others)) * length < slowness.AGREES * excess:
        return None
    return Evidence(
        "input",
        f"{listing(ranks)} waits for data in {100 * min(mine):.0f} % of stack samples, "
        f"others in {100 * median(others):.0f} %",
        {"share": min(mine), "others": median(others)},
    )


def _starvation(view: View, ranks: Sequence[int], excess: float, length: float, since: int) -> list[Evidence]:
    found = []
    for rank in ranks:
        waits = cpu_wait(view, rank, since)
        if waits and waits[0] - waits[1] > STARVED and (waits[0] - waits[1]) * length > slowness.AGREES * excess:
            text = f"threads of rank {rank} waited {waits[0]:.2f} s a second for a CPU, {waits[1]:.2f} before"
            found.append(Evidence("cpu_pressure", text, {"rank": rank, "now": waits[0], "before": waits[1]}))
    return found
