"""Following NCCL Inspector's logs."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.inspector_lines import Reader
from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.nccl_inspector import NcclInspectorSource

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "nccl_inspector"
AT = 1_700_000_000 * 10**9


def line(number=0, *, rank=1, pid=4001, host="node01", **more):
    """Return a line as Inspector writes it, for an all-reduce of 1401 µs."""
    return {
        "header": {"id": "0x9e7a479f95a66c", "comm_name": "default_pg", "rank": rank, "n_ranks": 8, "nnodes": 2},
        "metadata": {"dump_timestamp_us": 1795378762003000, "hostname": host, "pid": pid, "new": {}},
        "coll_perf": {
            "coll": "AllReduce",
            "coll_sn": number,
            "coll_msg_size_bytes": 1024,
            "coll_exec_time_us": 1401,
            "coll_timing_source": "kernel_gpu",
        },
    } | more


@pytest.fixture
def log(tmp_path):
    """Return an empty log that is followed, of a process that its launcher calls rank 1 of 8."""
    (tmp_path / "proc" / "4001").mkdir(parents=True)
    (tmp_path / "proc" / "4001" / "environ").write_bytes(b"RANK=1\0WORLD_SIZE=8\0SLURM_JOB_ID=77\0")
    found = tmp_path / "node01-pid4001.log"
    found.write_text("")
    return found


def source(log, ranks=list):
    """Return a source that has seen the empty log."""
    found = NcclInspectorSource(
        "node01", ranks, f"{log.parent}/*.log", proc=log.parent / "proc", look_seconds=0, clock=lambda: AT
    )
    with pytest.raises(NoData):
        found.read()
    return found


def append(log, *values):
    """Add lines to a log."""
    with log.open("a") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def test_an_operation(log):
    """A finished operation has its rank, number, size and time, and its communicator is told once."""
    reader = source(log)
    append(log, line(0), line(1))
    found = {name: table.to_pylist() for name, table in reader.read().items()}
    first, second = found["collectives"]
    assert (first["job"], first["rank"], first["comm"], first["op"]) == ("77", 1, "0x9e7a479f95a66c/8", "all_reduce")
    assert (first["fn_seq"], first["nbytes"], first["duration_ns"], first["clock"]) == (0, 1024, 1_401_000, "gpu")
    assert second["fn_seq"] == 1
    assert [(row["comm_rank"], row["n_ranks"], row["name"]) for row in found["memberships"]] == [(1, 8, "default_pg")]
    assert [(row["rank"], row["host"], row["pid"]) for row in found["ranks"]] == [(1, "node01", 4001)]
    assert [row["world"] for row in found["jobs"]] == [8]
    append(log, line(2))
    assert set(reader.read()) == {"collectives"}


def test_a_verbose_line(log):
    """Where Inspector says when kernels ran, the operation has a beginning and an end."""
    value = line()
    value["coll_perf"]["event_trace_ts"] = {
        "coll_start_ts": 1,
        "coll_stop_ts": 2,
        "kernel_events": [{"kernel_start_ts": 50, "kernel_stop_ts": 70}, {"kernel_start_ts": 40, "kernel_stop_ts": 60}],
    }
    reader = source(log)
    append(log, value)
    (row,) = reader.read()["collectives"].to_pylist()
    assert (row["started_at"], row["ended_at"]) == (40_000, 70_000)


def test_a_transfer(log):
    """A send has its peer, which is a global rank where the communicator is the whole job."""
    perf = {"p2p": "Send", "p2p_sn": 3, "p2p_peer": 2, "p2p_msg_size_bytes": 5, "p2p_exec_time_us": 6}
    value = {key: part for key, part in line().items() if key != "coll_perf"} | {"p2p_perf": perf}
    reader = source(log)
    append(log, value)
    (row,) = reader.read()["collectives"].to_pylist()
    assert (row["op"], row["p2p_seq"], row["fn_seq"], row["peer"]) == ("send", 3, None, 2)


def test_a_header_for_many_lines(log):
    """From v4.3 on a line with losses brings the header for those after it, and its losses are told."""
    head = {key: part for key, part in line().items() if key != "coll_perf"} | {"dump_stats": {"coll_dropped_total": 9}}
    reader = source(log)
    append(log, head, {"coll_perf": line(4)["coll_perf"]})
    found = reader.read()
    assert found["collectives"].to_pylist()[0]["fn_seq"] == 4
    (row,) = found["events"].to_pylist()
    assert (row["kind"], row["code"], row["device_id"]) == ("nccl_inspector_dropped", 9, "4001")


def test_whose_lines_are_left_out(log):
    """Processes with a ring, other hosts' processes and strangers are left out."""
    reader = source(log, lambda: [LocalRank("job-1", 3, 1, 4001)])
    append(log, line())
    append(log, line(host="node02"))
    append(log, line(pid=4002))
    with pytest.raises(NoData):
        reader.read()


def test_broken_lines(log):
    """What is no line of Inspector is left out, and the next is read."""
    reader = source(log)
    with log.open("a") as file:
        file.write("{broken\n[1]\nnull\n" + "[" * 50_000 + "\n")
    append(log, {"header": 5, "metadata": [], "coll_perf": {}}, line(7))
    assert [row["fn_seq"] for row in reader.read()["collectives"].to_pylist()] == [7]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["header", "metadata", "coll_perf", "p2p_perf", "dump_stats", "event_trace_ts", "rank"]),
            inner,
        )
    ),
    max_leaves=15,
)


@given(JSON, st.sampled_from(["coll_perf", "header", "metadata", "dump_stats"]))
def test_any_line(value, key):
    """Whatever JSON a line holds gives an operation that fits the registry, none, or a ValueError."""
    reader = Reader()
    for text in (json.dumps(value), json.dumps(line() | {key: value})):
        try:
            found = reader.read(text)
        except ValueError:
            continue
        if found is not None:
            assert 0 <= found.place < found.size
            assert all(abs(n) < 2**63 for n in (found.number, found.nbytes, found.duration_ns, found.seen_at or 0))


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples/nccl_inspector")
def test_samples(tmp_path, log):
    """Every operation of a real-looking log is read."""
    sample = SAMPLES / "v4.0_coll_node01-pid4000.log"
    pids = {json.loads(text)["metadata"]["pid"] for text in sample.read_text().splitlines()}
    for pid in pids:
        (tmp_path / "proc" / str(pid)).mkdir(exist_ok=True)
        (tmp_path / "proc" / str(pid) / "environ").write_bytes(f"RANK={pid - 4000}\0".encode())
    reader = source(log)
    shutil.copy(sample, tmp_path / "fresh.log")
    rows = reader.read()["collectives"].to_pylist()
    assert len(rows) == len(sample.read_text().splitlines())
