"""Captures through the engine in event time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from support_capture import MS, START_NS, tables, write

from offbeat.analyzer.diagnose import diagnose


def answer(folder, **options):
    document = diagnose([folder], **options)
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def test_a_healthy_capture_is_healthy(tmp_path):
    """Thirty seconds of an even beat."""
    found, document = answer(write(tmp_path, tables()))
    assert found == []
    assert document.exit_code == 0
    seen = document.observed
    assert (seen.ranks, seen.hosts, seen.communicators) == (4, 2, 1)
    assert abs(seen.iteration_median - 0.086) < 0.005
    assert document.source == ["capture"]


def test_a_late_rank_is_named_when_the_service_would_have(tmp_path):
    """`detected_at` is in event time, some iterations after the change."""
    found, document = answer(write(tmp_path, tables(late={2: (150, 60)})))
    assert found == [("slow.compute", (2,))]
    finding = document.findings[0]
    changed = START_NS + 150 * 86 * MS
    assert changed - 1000 * MS < finding.started_at <= finding.detected_at < changed + 10_000 * MS


def test_a_hang_is_seen_growing_old(tmp_path):
    """Open operations are looked at as they age, although the capture holds only the last look at them."""
    found, document = answer(write(tmp_path, tables(stop=(1, 200), tail_ms=15_000)))
    assert found == [("hang.not_entered", (1,))]
    finding = document.findings[0]
    stopped = START_NS + 200 * 86 * MS
    assert stopped < finding.detected_at < stopped + 6_000 * MS


def test_a_capture_names_its_job(tmp_path):
    """The name is in the tables; `--job` chooses among several."""
    folder = write(tmp_path, tables(job="a", late={2: (150, 60)}))
    assert answer(folder)[1].job == "a"
    healthy = tables(job="b", seed=5)
    for name, table in healthy.items():
        both = pa.concat_tables([pq.read_table(folder / f"{name}.parquet"), table])
        pq.write_table(both, folder / f"{name}.parquet")
    assert answer(folder, job="b")[0] == []
    assert answer(folder, job="a")[0] == [("slow.compute", (2,))]
    assert answer(folder)[1].job is None


def test_unknown_columns_are_left_out_and_said(tmp_path):
    """A newer capture still reads."""
    folder = write(tmp_path, tables(calls=50))
    table = pq.read_table(folder / "ranks.parquet")
    pq.write_table(table.append_column("flavour", pa.array(["x"] * 4)), folder / "ranks.parquet")
    assert any("flavour" in warning for warning in answer(folder)[1].warnings)


def test_a_table_that_does_not_fit_is_a_warning(tmp_path):
    """A missing required column costs that table only."""
    folder = write(tmp_path, tables(calls=50))
    pq.write_table(pa.table({"host": ["h"]}), folder / "ranks.parquet")
    document = answer(folder)[1]
    assert any("ranks.rank: column is missing" in warning for warning in document.warnings)
    assert document.source == ["capture"]


def test_a_capture_without_times_cannot_be_judged(tmp_path):
    """Members alone tell nothing."""
    made = tables(calls=5)
    document = answer(write(tmp_path, {"ranks": made["ranks"]}))[1]
    assert document.exit_code == 3
