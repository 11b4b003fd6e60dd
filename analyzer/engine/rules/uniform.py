"""slow.uniform and starvation: the job is slower than its own past and no path or rank's work explains it.

Reads: iterations, process counters. Emits: slow.compute (a rank starved of CPU inside its collectives), slow.uniform.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.rules.common import SECOND, STARVED, cpu_wait, listing, ms, pressure
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.normal import Normal
    from offbeat.analyzer.engine.view import View

SLOWER, CALM, WANDERS = 1.25, 1.05, 6.0
"""Iteration time against the healthy one; less is a job's own wander. A job that is known to be calm is judged from
less on: by so many of the deviations between its healthy stretches, and never below the second."""
ERRORS, MOODY = 4.0, 0.05
"""Standard errors that the growth must exceed; and the noise from step to step, as a share of it, from which steps
are not taken for independent: a machine's moods last for many of them, and more make nothing surer."""
HOLD_NS = 8 * SECOND
"""Longer than for a named culprit: a rule that can name one must have had its chance."""


def judge(view: View) -> list[Suspicion]:
    """Return that the job as a whole is slower, at most one suspicion."""
    steps, normal = view.steps, view.normal
    if steps is None or normal is None:
        return []
    length = steps.length
    if length < _least(normal) * normal.length or length - normal.length < ERRORS * _error(
        normal, len(steps.recent.own)
    ):
        return []
    starved = _starved(view, steps.since)
    if starved:
        return [_starvation(view, starved, length, normal.length)]
    text = f"an iteration takes {ms(length)} instead of {ms(normal.length)}"
    cpu = [e for h in view.job.hosts() for e in pressure(view, h, steps.since)]
    return [
        Suspicion(
            key="uniform",
            fault=FaultClass.SLOW_UNIFORM,
            severity=Severity.INFO if cpu else Severity.WARNING,
            summary=f"the whole job is slower: {text}; no rank, host or link stands out",
            advice=Advice(Action.NONE, "nothing to isolate: look at what all hosts share, or at the job itself"),
            evidence=(Evidence("iteration", text, {"now_ns": length, "normal_ns": normal.length}), *cpu[:4]),
            slowdown=length / normal.length,
            confidence=0.6,
            started_at=steps.since,
            hold_ns=HOLD_NS,
            clear_ns=4 * SECOND,
        )
    ]


def _error(normal: Normal, count: int) -> float:
    """Return by how much the typical step of *count* may be longer by chance, ns."""
    noise = normal.length_noise
    return noise if noise > MOODY * normal.length else robust.MEDIAN * noise / count**0.5


def _least(normal: Normal) -> float:
    """Return from how many times its healthy length an iteration counts as slower."""
    if normal.length_wander is None:
        return SLOWER
    return min(max(1 + WANDERS * normal.length_wander / normal.length, CALM), SLOWER)


def _starved(view: View, since: int) -> dict[int, tuple[float, float]]:
    """Return the ranks whose threads wait for a CPU far more than before and than the others, with both figures."""
    waits = {r: w for r in view.job.ranks if (w := cpu_wait(view, r, since)) is not None}
    if len(waits) < 3:
        return {}
    typical = median(w[0] for w in waits.values())
    return {r: w for r, w in waits.items() if w[0] - w[1] > STARVED and w[0] > 1.5 * typical}


def _starvation(view: View, starved: dict[int, tuple[float, float]], length: float, usual: float) -> Suspicion:
    assert view.steps is not None
    evidence = [
        Evidence("cpu_pressure", f"threads of rank {r} waited {now:.2f} s a second for a CPU, {before:.2f} before", {})
        for r, (now, before) in starved.items()
    ]
    return Suspicion(
        key=f"starved:{min(starved)}",
        fault=FaultClass.SLOW_COMPUTE,
        severity=Severity.WARNING,
        summary=f"{listing(starved)} is starved of CPU: an iteration takes {ms(length)}, not {ms(usual)}",
        advice=Advice(Action.INSPECT, "something else takes the CPU there, or a quota holds the rank back"),
        culprits=Culprits(ranks=tuple(sorted(starved))),
        victims=tuple(r for r in sorted(view.job.ranks) if r not in starved),
        evidence=tuple(evidence),
        slowdown=length / usual,
        confidence=0.7,
        started_at=view.steps.since,
        hold_ns=3 * SECOND,
        clear_ns=3 * SECOND,
    )
