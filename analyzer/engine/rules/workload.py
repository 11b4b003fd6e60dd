"""workload.*: the job's own doing, which no hardware is blamed for.

Reads: steps, spans. Emits: stage_imbalance, sequence_imbalance, pause and, where it is no single rank, input_stall.

Ranks are only compared with ranks of the same role, so neither makes anybody a culprit; they are told because they cost
time (last stage 39 %, sequence length 21 % of straggling jobs: OSDI'25, arXiv 2505.05713).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.engine.rules.common import SECOND, listing, ms
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.analyzer.engine.view import LEAST
from offbeat.model import Action, Advice, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.job import JobState
    from offbeat.analyzer.engine.view import StepView, View

STAGE = 0.1
"""Excess of a stage's own time over the typical stage's, as a share of the step, from which it is told."""
UNEVEN = 0.06
"""Typical difference between ranks of one role within a step, as a share of the step, likewise."""
STALL = 0.05
"""Share of time that ranks wait for input from which it is told."""
EXPLAINS = 0.5
"""Part of the growth of a step that a cause must account for."""
PAUSE, PAUSE_NS, TOGETHER = 2.0, SECOND, 0.8
"""Excess of a step over the typical one, in steps and at least, from which it is a pause; share of ranks in it."""
MOVES = 0.5
"""Share of steps in which one rank may be the slowest; more, and it is that rank."""
PASSES, SHARED = 0.8, 0.7
"""Correlation of a rank's forward and backward times, and of members' of a tensor group, from which it is the work
that differs; passes hold waits for peers too, and so correlate less than computing alone does (0.9 in OSDI'25)."""
LEAST_RANKS = 4
"""Ranks of one role below which it cannot be told that the slow one changes."""
HOLD_NS = 5 * SECOND


def judge(view: View) -> list[Suspicion]:
    """Return what of the job's own making costs it time."""
    if view.steps is None:
        return []
    steps = view.steps
    return [*_stages(view, steps), *_sequences(view.job, steps), *_stalls(view, steps), *_pauses(view.job, steps)]


def explain(view: View, told: list[Suspicion]) -> bool:
    """Return whether what is *told* of the job's own doing accounts for its being slower than it was."""
    steps, normal = view.steps, view.normal
    if steps is None or normal is None:
        return False
    grown = sum(float(s.evidence[0].data.get("growth_ns", 0.0)) for s in told)
    return grown >= EXPLAINS * (steps.length - normal.length)


def _stalls(view: View, steps: StepView) -> list[Suspicion]:
    """Return that the job waits for its input, now on this rank, now on that."""
    waited = view.job.inputs.shares(steps.since, view.now)
    if waited is None:
        return []
    # All wait for whoever waits longest in a step, and who that is changes: the sum over ranks bounds it.
    share = min(float(waited.sum()), float(waited.max()) * 2)
    longest = share * steps.length
    grown = steps.length - view.normal.length if view.normal else 0.0
    if share < STALL or grown < EXPLAINS * longest or float(waited.max()) > MOVES * float(waited.sum()):
        return []
    text = f"steps take {ms(grown)} longer, and ranks wait for their input, another one each time"
    advice = Advice(Action.FIX_WORKLOAD, "the data loader does not keep up: more workers, or a faster store")
    return [_told(FaultClass.WORKLOAD_INPUT_STALL, steps, text, advice, {"growth_ns": grown})]


def _pauses(job: JobState, steps: StepView) -> list[Suspicion]:
    """Return a step in which all ranks together did something else: checkpoint, evaluation, collection of garbage."""
    length, typical = steps.recent.length, steps.length
    k = int(np.argmax(length))
    more = float(length[k]) - typical
    if more < max(PAUSE * typical, PAUSE_NS):
        return []
    own = steps.recent.own[k] - robust.median(steps.recent.own)
    known = np.isfinite(own)
    if not known.any() or float((own[known] > more / 2).mean()) < TOGETHER:
        return []
    doing = sorted(set(job.phases.values()))
    what = f" ({', '.join(doing)})" if doing else ""
    text = f"all ranks paused for {more / 1e9:.1f} s at once{what}"
    return [_told(FaultClass.WORKLOAD_PAUSE, steps, text, Advice(Action.NONE, "nothing is at fault"), {}, hold_ns=0)]


def _stages(view: View, steps: StepView) -> list[Suspicion]:
    job = view.job
    roles = job.roles[: steps.recent.own.shape[1]]
    busy = robust.median(steps.recent.own)[: len(roles)]
    names = [r for r in np.unique(roles[roles >= 0]) if np.isfinite(busy[roles == r]).any()]
    if len(names) < 2:
        return []
    by_role = np.array([np.nanmedian(busy[roles == r]) for r in names])
    worst = int(np.argmax(by_role))
    usual = float(np.median(np.delete(by_role, worst)))
    excess = float(by_role[worst]) - usual
    mine = np.nonzero(roles == names[worst])[0]
    # All ranks of the stage have it, not one of them.
    if excess < STAGE * steps.length or np.nanmin(busy[mine]) - usual < excess / 2:
        return []
    text = (
        f"{listing(mine)} spend {ms(excess)} a step of {ms(steps.length)} longer than other stages, all of them alike"
    )
    advice = Advice(Action.FIX_WORKLOAD, "give that stage fewer layers: no machine is at fault")
    before = view.normal.busy[mine[mine < len(view.normal.busy)]] if view.normal else np.zeros(0)
    grown = float(np.nanmedian(busy[mine])) - float(np.nanmedian(before)) if np.isfinite(before).any() else 0.0
    data = {"ranks": mine.tolist(), "growth_ns": grown}
    return [_told(FaultClass.WORKLOAD_STAGE_IMBALANCE, steps, text, advice, data)]


def _sequences(job: JobState, steps: StepView) -> list[Suspicion]:
    """Return that ranks of one role take turns at being slow, where it shows that their work differs."""
    own = steps.long_own
    known = np.isfinite(own).all(axis=0)
    if known.sum() < LEAST_RANKS or len(own) < LEAST:
        return []
    own = own[:, known] - np.median(own[:, known], axis=0)
    uneven = float(np.median(robust.spread(own.T)))
    often = float(np.bincount(np.argmax(own, axis=1)).max() / len(own))
    waits = steps.long_wait[:, known] - np.median(steps.long_wait[:, known], axis=0)
    if uneven < UNEVEN * steps.length or often > MOVES or _correlation(own, -waits) < MOVES:
        return []
    why = _of_work(job, own, np.nonzero(known)[0])
    if why is None:
        return []
    text = f"ranks that do the same work differ by {ms(uneven)} in a step of {ms(steps.length)}, another one each time"
    advice = Advice(Action.FIX_WORKLOAD, "balance the batches: sequences of different length make others wait")
    data = {"spread_ns": uneven}
    return [_told(FaultClass.WORKLOAD_SEQUENCE_IMBALANCE, steps, f"{text}; {why}", advice, data)]


def _of_work(job: JobState, own: Any, ranks: Any) -> str | None:
    """Return what shows that it is the work that differs; without a sign it may be any machine's jitter."""
    together = job.passes.correlation()
    if together is not None:
        return f"forward and backward correlate at {together:.2f}" if together >= PASSES else None
    if any(beat.coarse for beat in job.rhythm.known.values()):
        return "what they send differs as well"
    # Members of a tensor group share their sequences, and machines do not share their jitter.
    place = {int(r): k for k, r in enumerate(ranks)}
    pairs = [
        (place[a], place[b])
        for w in job.windows.values()
        if 1 < len(w.members) == _smallest(job)
        for a, b in zip(w.members[:-1], w.members[1:], strict=True)
        if a in place and b in place
    ]
    if len(pairs) < LEAST_RANKS // 2:
        return None
    shared = _correlation(own[:, [a for a, _ in pairs]], own[:, [b for _, b in pairs]])
    return f"members of a group differ alike (correlation {shared:.2f})" if shared >= SHARED else None


def _smallest(job: JobState) -> int:
    """Return the size of the smallest communicators, which is not that of all replicas."""
    return min((len(w.members) for w in job.windows.values() if len(w.members) > 1), default=0)


def _correlation(a: Any, b: Any) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _told(
    fault: FaultClass, steps: StepView, text: str, advice: Advice, data: dict[str, Any], *, hold_ns: int = HOLD_NS
) -> Suspicion:
    return Suspicion(
        key=str(fault),
        fault=fault,
        severity=Severity.INFO,
        summary=text,
        advice=advice,
        evidence=(Evidence("own_time", text, data),),
        confidence=0.8,
        started_at=steps.since,
        hold_ns=hold_ns,
        clear_ns=HOLD_NS,
    )
