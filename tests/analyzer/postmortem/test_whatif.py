"""What a straggler costs: steps worked out anew with some of their parts ideal."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offbeat.analyzer.diagnose import diagnose
from offbeat.analyzer.postmortem.whatif import WhatIf
from offbeat.analyzer.readers import straggler

PUBLISHED = Path(__file__).parents[4] / "shared" / "samples" / "straggler_trace"
COLUMNS = ("dp_rank", "stage", "rank", "step", "optype", "start_ts", "duration", "seq_id", "mc", "mb_id")


def pipeline(path, slow, steps=4, batches=6, replicas=4):
    """Write the trace of a pipeline of two stages, forward only: the second computes what the first has sent it."""
    rows = []

    def add(place, op, start, took, batch=-1):
        stage, replica, step = place
        rows.append((replica, stage, 2 * replica + stage, step, op, start, took, max(batch, 0), 0, batch))

    for step in range(steps):
        ends = []
        for replica in range(replicas):
            first, second = (slow.get((stage, replica), 0.1) for stage in (0, 1))
            at, free = 0.0, 0.0
            for batch in range(batches):
                add((0, replica, step), "forward-compute", at, first, batch)
                at += first
                add((0, replica, step), "forward-send", at, max(0.001, free + 0.001 - at), batch)
                add((1, replica, step), "forward-recv", free, max(0.001, at + 0.001 - free), batch)
                began = max(free, at) + 0.001
                add((1, replica, step), "forward-compute", began, second, batch)
                at, free = max(at, free) + 0.001, began + second
            ends.append((at, free))
        for stage in (0, 1):
            last = max(end[stage] for end in ends)
            for replica in range(replicas):
                mine = ends[replica][stage]
                add((stage, replica, step), "grads-reduce-scatter", mine, last - mine + 0.02)
    pq.write_table(pa.table([pa.array(c) for c in zip(*rows, strict=True)], names=COLUMNS), path)
    return straggler.read(path)


def test_a_step_worked_out_again_takes_as_long_as_it_took(tmp_path):
    """With nothing made ideal, waits between stages and replicas come out as they were recorded."""
    cost = WhatIf(pipeline(tmp_path / "t", {(0, 2): 0.2})).cost()
    assert cost.modelled == pytest.approx(cost.recorded, rel=0.01)


def test_the_worker_at_fault_has_all_of_the_slowdown(tmp_path):
    """A step whose slowest rank were like the others would lose all that is lost; no other stage has any of it."""
    trace = pipeline(tmp_path / "t", {(0, 2): 0.2})
    cost = WhatIf(trace).cost()
    # Six passes of 0.2 s and one of the second stage, against passes of the mean of all ranks, 0.1125 s.
    assert cost.slowdown == pytest.approx(1.33 / 0.83, rel=0.05)
    assert cost.workers == pytest.approx(1.0, abs=0.15)
    assert cost.last_stage == pytest.approx(0.0, abs=0.05)
    assert WhatIf(trace).seconds([(0, 2)]) < 0.7 * cost.modelled


def test_a_job_that_is_as_even_as_can_be_costs_nothing(tmp_path):
    """Nothing is gained by making ideal what is."""
    cost = WhatIf(pipeline(tmp_path / "t", {})).cost()
    assert cost is None or cost.slowdown < 1.01


def test_a_finding_says_what_it_costs(tmp_path):
    """The share of the job's time, and the figures of the definitions, are evidence."""
    pipeline(tmp_path / "t", {(0, 2): 0.2})
    (finding,) = diagnose([tmp_path / "t"]).findings
    (cost,) = [e for e in finding.evidence if e.kind == "cost"]
    assert finding.culprits.ranks == (4,)
    assert 0.3 < cost.data["share"] < 0.5
    assert cost.data["gpu_hours_per_hour"] == pytest.approx(8 * cost.data["share"], abs=0.01)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published trace is not here")
def test_the_published_answers():
    """On the trace that its authors published with answers, S, M_W and M_S come out within 0.02."""
    cost = WhatIf(straggler.read(PUBLISHED / "trace-AR.parquet")).cost()
    workers = json.loads((PUBLISHED / "mw-AR.json").read_text())
    stage = json.loads((PUBLISHED / "ms-AR.json").read_text())
    assert cost.slowdown == pytest.approx(workers["tori"] / workers["tideal"], abs=0.02)
    assert cost.workers == pytest.approx(workers["Mw"], abs=0.02)
    assert cost.last_stage == pytest.approx(stage["Ms"], abs=0.02)
