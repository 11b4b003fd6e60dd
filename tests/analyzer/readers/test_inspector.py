"""NCCL Inspector logs in all their forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support_inspector import durations, line, write, write_job

from offbeat.analyzer.readers import inspector
from offbeat.analyzer.readers.inspector_ranks import global_ranks, launch_order, tables

SAMPLES = Path(__file__).parents[3].parent / "shared" / "samples" / "nccl_inspector"


def read(folder):
    return inspector.read(sorted(folder.iterdir()))


def test_a_record_keeps_all_it_says(tmp_path):
    """Times become nanoseconds, the operation a word, the communicator its cut id and size."""
    log = read(write(tmp_path, [line(3, 7, 1400, op="ReduceScatter", nbytes=4096)]))
    ranks, warning = global_ranks(log)
    row = tables(log, ranks, "j")["collectives"].to_pylist()[0]
    assert warning == ""
    assert (row["comm"], row["rank"], row["op"], row["native_op"]) == (
        "0x9e7a479f95a66c/8",
        3,
        "reduce_scatter",
        "ReduceScatter",
    )
    assert (row["fn_seq"], row["seq"], row["nbytes"], row["duration_ns"]) == (7, None, 4096, 1_400_000)
    assert (row["started_at"], row["state"], row["clock"], row["source"]) == (
        None,
        "completed",
        "gpu",
        "nccl_inspector",
    )
    assert row["observed_at"] == (1_795_378_762_000_000 + 7 * 20_000) * 1000


def test_verbose_lines_give_start_and_end(tmp_path):
    """The kernels' times, not the launch's."""
    log = read(write(tmp_path, [line(0, 0, 96, trace=(1_795_378_761_999_155, 1_795_378_761_999_251))]))
    row = tables(log, global_ranks(log)[0], "j")["collectives"].to_pylist()[0]
    assert (row["started_at"], row["ended_at"]) == (1_795_378_761_999_155_000, 1_795_378_761_999_251_000)


def test_a_cut_last_line_is_a_warning(tmp_path):
    """The file is being written: what is whole is read."""
    write(tmp_path, [line(0, 0, 10), line(0, 1, 10)])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-40])
    log = read(tmp_path)
    assert len(log) == 1
    assert "cut off" in log.warnings[0]


def test_broken_lines_are_counted(tmp_path):
    """Bad lines in the middle cost themselves only."""
    write(tmp_path, [line(0, 0, 10)])
    (file,) = tmp_path.iterdir()
    with file.open("a") as log:
        log.write('nonsense\n{"coll_perf": 5}\n{"header": [1]}\n[]\n{"coll_perf": {"coll": "AllReduce"}}\n')
    write(tmp_path, [line(0, 1, 10)])
    found = read(tmp_path)
    assert len(found) == 2
    assert "5 unreadable lines" in found.warnings[0]


def test_header_lines_stand_for_what_follows(tmp_path):
    """From v4.3 on header and metadata come once, in a line that counts losses."""
    whole = line(2, 40, 2100)
    marker = {"header": whole["header"], "metadata": whole["metadata"]}
    marker["dump_stats"] = {"coll_records": 1, "coll_dropped_total": 3}
    rest = [{"coll_perf": whole["coll_perf"]}, {"proxy_trace": {"record_type": "proxy_op"}}]
    (tmp_path / "node03-pid4102.log").write_text("\n".join(json.dumps(x) for x in [marker, *rest]) + "\n")
    log = read(tmp_path)
    assert len(log) == 1
    assert "lost 3 records" in log.warnings[0]
    assert global_ranks(log)[0] == {0: 2}


def test_a_process_is_known_by_the_file_name_too(tmp_path):
    """Host and pid are in the name when a line lacks them."""
    bare = line(1, 0, 10)
    del bare["metadata"]
    (tmp_path / "node-01-pid77.log").write_text(json.dumps(bare) + "\n")
    assert list(read(tmp_path).processes) == [inspector.Process("node-01", 77)]


def test_ranks_are_those_of_the_communicator_that_holds_everybody(tmp_path):
    """Ranks of smaller communicators are translated by host and pid."""
    world = [line(r, 0, 10, size=4) for r in range(4)]
    halves = [
        line(r % 2, 0, 10, size=2, comm=f"0xaa{r // 2}", name=None, host=f"node{r // 4:02d}", pid=4000 + r)
        for r in range(4)
    ]
    log = read(write(tmp_path, world + halves))
    ranks, warning = global_ranks(log)
    rows = tables(log, ranks, "j")["collectives"].to_pylist()
    assert warning == ""
    assert {(row["comm"], row["rank"]) for row in rows if row["comm"].endswith("/2")} == {
        ("0xaa0/2", 0),
        ("0xaa0/2", 1),
        ("0xaa1/2", 2),
        ("0xaa1/2", 3),
    }


def test_without_such_a_communicator_ranks_are_numbered_and_that_is_said(tmp_path):
    """Two tensor groups joined by pairs: no rank of theirs is the job's."""
    first = [line(r, 0, 10, size=2, comm="0x1", host="a", pid=10 + r) for r in range(2)]
    second = [line(r, 0, 10, size=2, comm="0x2", host="b", pid=20 + r) for r in range(2)]
    across = [
        line(0, 0, 10, size=2, comm="0x3", host="a", pid=10),
        line(1, 0, 10, size=2, comm="0x3", host="b", pid=20),
    ]
    log = read(write(tmp_path, first + second + across))
    ranks, warning = global_ranks(log)
    assert sorted(ranks.values()) == [0, 1, 2, 3]
    assert "not the job's own" in warning


def test_processes_that_share_nothing_are_different_jobs(tmp_path):
    """Logs of two jobs in one folder are not mixed."""
    one = [line(r, 0, 10, size=2, comm="0x1", host="a", pid=10 + r) for r in range(2)]
    other = [line(r, 0, 10, size=3, comm="0x2", host="b", pid=20 + r) for r in range(3)]
    parts = inspector.jobs(read(write(tmp_path, one + other)))
    assert [len(part) for part in parts] == [3, 2]
    assert [set(global_ranks(part)[0].values()) for part in parts] == [{0, 1, 2}, {0, 1}]


def test_one_rank_held_by_two_processes_is_two_communicators(tmp_path):
    """The ids are cut off: equal ones with the same rank twice are not one communicator."""
    log = read(write(tmp_path, [line(0, 0, 10, host="a", pid=1), line(0, 0, 10, host="b", pid=2)]))
    assert len(log.comms) == 2


def test_the_order_of_launch_is_told_by_start_times(tmp_path):
    """Functions are counted apart; with starts known and all members alike, the order is a launch counter."""
    lines = []
    for r in (0, 1):
        for k in range(3):
            at = 1_795_378_762_000_000 + k * 1000
            lines.append(line(r, k, 90, size=2, trace=(at, at + 90)))
            lines.append(line(r, k, 50, size=2, op="AllGather", trace=(at + 500, at + 550)))
    log = read(write(tmp_path, lines))
    assert launch_order(log).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_no_order_of_launch_without_start_times(tmp_path):
    """Plain logs do not tell it."""
    log = read(write_job(tmp_path, durations(3, 2)))
    assert np.isnan(launch_order(log)).all()


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_the_samples_are_read_without_a_warning():
    """Plain, verbose, p2p and the unreleased stream."""
    log = inspector.read(sorted(SAMPLES.glob("*.log")))
    assert log.warnings == []
    assert len(log) == 24 + 24 + 3 + 3 + 2
