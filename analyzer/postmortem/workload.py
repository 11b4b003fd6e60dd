"""What in a straggler trace is the job's own doing, and no fault of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from offbeat.model import Action, Advice, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.postmortem.own_time import Own
    from offbeat.analyzer.readers.straggler import StragglerTrace

STAGE = 1.15
"""A stage's time against the median stage's from which the split of the model is uneven."""
STAGE_WARNS = 1.3
"""… and from which that is worth a warning: the last stage is a little slower in most jobs."""
SEQUENCES = 0.9
"""Correlation of a micro-batch's forward and backward time from which its length explains both."""
MOVES = 0.7
"""Share of steps in which one rank may be the slowest and the slowness still counts as moving about."""
SPREAD = 1.1
"""Slowest replica of a step against the median one from which a step is uneven."""


def uneven_stage(own: Own) -> Finding | None:
    """Return the finding for a stage that is slow in every replica: how the model was cut, not a machine."""
    if len(own.stages) < 2:
        return None
    per_stage = np.nanmedian(np.nanmedian(own.seconds, axis=0), axis=1)
    worst = int(np.argmax(per_stage))
    others = float(np.median(np.delete(per_stage, worst)))
    ratio = float(per_stage[worst]) / others
    fastest = float(np.nanmin(np.nanmedian(own.seconds[:, worst, :], axis=0)))
    if ratio < STAGE or fastest < STAGE * others:
        return None
    stage = own.stages[worst]
    return Finding(
        id=f"workload.stage_imbalance-{stage}",
        fault=FaultClass.WORKLOAD_STAGE_IMBALANCE,
        severity=Severity.WARNING if ratio >= STAGE_WARNS else Severity.INFO,
        summary=f"Pipeline stage {stage} computes {ratio:.2f} times as long as the others in every replica.",
        advice=Advice(Action.FIX_WORKLOAD, "give this stage fewer layers"),
        evidence=(
            Evidence(
                "own_time",
                f"stage {stage}: {per_stage[worst]:.2f} s a step, the others {others:.2f} s",
                {"stage": stage, "ratio": round(ratio, 4)},
            ),
        ),
        slowdown=round(ratio, 3),
        confidence=0.9,
    )


def uneven_sequences(trace: StragglerTrace, own: Own) -> Finding | None:
    """Return the finding for steps in which another rank is slow each time, forward and backward alike."""
    usual = np.nanmedian(own.seconds, axis=2, keepdims=True)  # of the same role
    relative = np.nan_to_num((own.seconds / usual).reshape(len(own.steps), -1))
    uneven, slowest = relative.max(axis=1), relative.argmax(axis=1)
    moves = len(np.unique(slowest)) > 1 and np.bincount(slowest).max() < MOVES * len(slowest)
    together = _together(trace)
    if float(np.median(uneven)) < SPREAD or not moves or together is None or together < SEQUENCES:
        return None
    ratio = float(np.median(uneven))
    return Finding(
        id="workload.sequence_imbalance",
        fault=FaultClass.WORKLOAD_SEQUENCE_IMBALANCE,
        severity=Severity.WARNING,
        summary=f"In each step another rank is slowest, {ratio:.2f} times the middle one: sequences differ in length.",
        advice=Advice(Action.FIX_WORKLOAD, "balance sequence lengths over the ranks of a step"),
        evidence=(
            Evidence(
                "correlation",
                f"forward and backward time of a micro-batch correlate at {together:.2f}",
                {"correlation": round(together, 4), "ratio": round(ratio, 4)},
            ),
        ),
        slowdown=round(ratio, 3),
        confidence=0.85,
    )


def _together(trace: StragglerTrace) -> float | None:
    """Return how a micro-batch's forward and backward times correlate, None where they cannot be paired."""
    words = {word: i for i, word in enumerate(trace.ops)}
    if not {"forward-compute", "backward-compute"} <= words.keys():
        return None
    sides = []
    for word in ("forward-compute", "backward-compute"):
        rows = np.nonzero((trace.op == words[word]) & (trace.batch >= 0) & np.isfinite(trace.duration))[0]
        keys = np.stack([trace.step[rows], trace.stage[rows], trace.replica[rows], trace.batch[rows]])
        took = trace.duration[rows].copy()
        for stage in np.unique(keys[1]):
            took[keys[1] == stage] /= np.median(took[keys[1] == stage])
        sides.append({tuple(k): v for k, v in zip(keys.T.tolist(), took.tolist(), strict=True)})
    shared = sorted(sides[0].keys() & sides[1].keys())
    if len(shared) < 16:
        return None
    forward, backward = (np.array([side[key] for key in shared]) for side in sides)
    if not (np.std(forward) > 0 and np.std(backward) > 0):
        return None
    return float(np.corrcoef(forward, backward)[0, 1])
