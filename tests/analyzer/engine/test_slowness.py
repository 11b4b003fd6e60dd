"""Who is slow by itself, and who only looks so."""

from __future__ import annotations

import pyarrow.compute as pc

from offbeat.analyzer.replay import replay
from offbeat.model import FaultClass
from offbeat.simulator.capture import simulate
from offbeat.simulator.faults import Fault
from offbeat.simulator.spec import JobSpec

SPEC = JobSpec(
    ranks=32, tp=4, pp=2, steps=64, microbatches=3, chunks=1, forward_ms=25, bucket_mb=800, buckets=1, first_step_s=0.5
)


def told(*faults, seen=lambda tables: tables):
    """Return class and ranks of what is found in a job with *faults*, of which *seen* is recorded."""
    found = replay(seen(simulate(SPEC, faults, 7).tables)).findings.values()
    return [(f.fault, f.culprits.ranks) for f in found if not str(f.fault).startswith("workload")]


def without_paths(tables):
    """Leave out sends and receives, as a recorder of collectives alone does."""
    ops = tables["collectives"]
    return {**tables, "collectives": ops.filter(pc.is_null(ops.column("peer")))}


def test_a_stage_that_waits_unseen_is_not_accused():
    """Where receives are not recorded, waiting for one looks like own time; whoever makes its group wait is named."""
    slow = Fault(FaultClass.SLOW_COMPUTE, ranks=(9,), times=1.2, start=30)
    assert told(slow, seen=without_paths) == [(FaultClass.SLOW_COMPUTE, (9,))]


def test_a_job_sick_from_its_first_step():
    """Without a healthy past the peers are the measure."""
    slow = Fault(FaultClass.SLOW_COMPUTE, ranks=(5,), times=1.1, start=0)
    assert told(slow) == [(FaultClass.SLOW_COMPUTE, (5,))]


def test_a_calm_job_that_becomes_slower_as_a_whole():
    """Twelve per cent are no mood of a job whose healthy stretches differ by less than one; nobody is named."""
    assert told(Fault(FaultClass.SLOW_UNIFORM, times=1.12, start=35)) == [(FaultClass.SLOW_UNIFORM, ())]
