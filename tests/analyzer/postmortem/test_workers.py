"""Straggler traces: slow workers, uneven stages, long sequences."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offbeat.analyzer.diagnose import diagnose


def trace(path, *, slow=None, stage=None, lengths=None, steps=6, batches=8, stages=3, replicas=4, seed=0):
    """Write a trace; *slow* is {(stage, replica): factor}, *stage* the last one's, *lengths* spreads at random."""
    random = np.random.default_rng(seed)
    rows = {name: [] for name in ("dp_rank", "stage", "rank", "step", "optype", "start_ts", "duration", "mb_id")}
    for step in range(steps):
        for s in range(stages):
            for d in range(replicas):
                at = 0.0
                for batch in range(batches):
                    length = random.exponential(1.0) if lengths else 1.0
                    for op, base in (("forward-compute", 0.2), ("backward-compute", 0.4)):
                        took = base * length * random.normal(1, 0.01) * (slow or {}).get((s, d), 1.0)
                        took *= stage if stage and s == stages - 1 else 1.0
                        values = (d, s, 2 * (s * replicas + d), step, op, at, took, batch)
                        for name, value in zip(rows, values, strict=True):
                            rows[name].append(value)
                        at += took
    table = pa.table(rows)
    table = table.set_column(4, "optype", table.column("optype").dictionary_encode())
    pq.write_table(table, path)
    return path


def answer(path):
    document = diagnose([path])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def test_a_slow_worker_is_told_from_its_replicas(tmp_path):
    """Same stage, same work, longer: that rank."""
    found, document = answer(trace(tmp_path / "t", slow={(1, 2): 1.3}))
    assert found == [("slow.compute", (12,))]
    assert abs(document.findings[0].slowdown - 1.3) < 0.05
    assert document.observed.iterations == 6


def test_two_slow_workers_are_both_named(tmp_path):
    """In different stages, or in one."""
    assert answer(trace(tmp_path / "t", slow={(0, 0): 1.5, (2, 3): 1.2}))[0] == [
        ("slow.compute", (0,)),
        ("slow.compute", (22,)),
    ]


def test_an_even_job_is_healthy(tmp_path):
    """One per cent of noise is no finding."""
    found, document = answer(trace(tmp_path / "t"))
    assert found == []
    assert document.exit_code == 0


def test_a_slow_stage_is_the_models_cut(tmp_path):
    """All replicas of the last stage are slow alike: nobody's hardware."""
    assert answer(trace(tmp_path / "t", stage=1.4))[0] == [("workload.stage_imbalance", ())]


def test_long_sequences_are_the_datas(tmp_path):
    """Another rank is slow each step, forward and backward alike."""
    assert answer(trace(tmp_path / "t", lengths=True, steps=20))[0] == [("workload.sequence_imbalance", ())]


def test_few_steps_are_not_judged(tmp_path):
    """Two steps do not persist."""
    document = answer(trace(tmp_path / "t", slow={(0, 0): 2.0}, steps=2))[1]
    assert document.exit_code == 3
