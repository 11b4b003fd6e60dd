"""What a slow part costs the job, as evidence of its finding."""

from __future__ import annotations

import pytest

from offbeat.analyzer.replay import replay
from offbeat.model import FaultClass
from offbeat.simulator.capture import simulate
from offbeat.simulator.faults import Fault
from offbeat.simulator.spec import JobSpec

SPEC = JobSpec(ranks=16, tp=2, pp=2, steps=80, microbatches=3, first_step_s=0.2)


def costs(*faults):
    """Return (class, ranks, what it costs) of everything that is slow in a job with *faults*."""
    found = replay(simulate(SPEC, faults, 3).tables).findings.values()
    return [(f.fault, f.culprits.ranks, e.data) for f in found for e in f.evidence if e.kind == "cost"]


def test_a_slow_rank_costs_what_the_others_wait_for():
    """The share is that by which the step grew: all wait for the one that computes half as long again."""
    ((fault, ranks, data),) = costs(Fault(FaultClass.SLOW_COMPUTE, ranks=(5,), times=1.5, start=30))
    assert (fault, ranks) == (FaultClass.SLOW_COMPUTE, (5,))
    assert 0.2 < data["share"] < 0.34
    assert data["gpu_hours_per_hour"] == pytest.approx(16 * data["share"], abs=0.01)
    assert data["recovered"] > 0.8


def test_who_hides_behind_a_slower_one_costs_nothing_yet():
    """Both are named, also in one pipeline, where the slower makes the other wait; healing the other gains nothing."""
    found = costs(
        Fault(FaultClass.SLOW_COMPUTE, ranks=(4,), times=2.0, start=25),
        Fault(FaultClass.SLOW_COMPUTE, ranks=(12,), times=1.3, start=25),
    )
    share = {ranks: data["share"] for _, ranks, data in found}
    assert set(share) == {(4,), (12,)}
    assert share[4,] > 0.2
    assert share[12,] < 0.02
