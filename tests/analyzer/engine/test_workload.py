"""What a job does to itself: pauses, input that comes late."""

from __future__ import annotations

import pytest

from offbeat.analyzer.replay import replay
from offbeat.model import FaultClass, Severity
from offbeat.simulator.capture import simulate
from offbeat.simulator.faults import Fault
from offbeat.simulator.spec import JobSpec

SPEC = JobSpec(ranks=16, tp=2, pp=2, steps=90, microbatches=3, first_step_s=0.2)


def told(*faults):
    """Return what is said of a simulated job."""
    return list(replay(simulate(SPEC, faults, 3).tables).findings.values())


def test_a_pause_of_all_is_information():
    """A checkpoint that all ranks write together is told as such, and nobody is blamed."""
    (finding,) = told(Fault(FaultClass.WORKLOAD_PAUSE, start=40))
    assert (finding.fault, finding.severity) == (FaultClass.WORKLOAD_PAUSE, Severity.INFO)


def test_one_rank_s_input():
    """A rank whose steps begin late because its data does is named, and told to be no machine's fault."""
    (finding,) = told(Fault(FaultClass.WORKLOAD_INPUT_STALL, ranks=(5,), times=2, start=40))
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.WORKLOAD_INPUT_STALL, (5,))


def test_everybody_s_input():
    """When another rank waits for its data in each step, the loader is told, and no rank."""
    found = told(Fault(FaultClass.WORKLOAD_INPUT_STALL, times=2.5, start=40))
    assert {f.fault for f in found} == {FaultClass.WORKLOAD_INPUT_STALL}
    assert all(not f.culprits.ranks for f in found)


@pytest.mark.parametrize("times", [1.5])
def test_a_stage_with_more_layers(times):
    """All ranks of one stage compute longer: the job's layout, and no slow job without a cause."""
    (finding,) = told(Fault(FaultClass.WORKLOAD_STAGE_IMBALANCE, times=times, start=40))
    assert finding.fault is FaultClass.WORKLOAD_STAGE_IMBALANCE
