"""Watching for Flight Recorder dumps, and pulling them."""

import contextlib
import json
import os
import socketserver

import pytest
from page_server import PageServer
from support import wait_until

from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.flight_recorder import FlightRecorderSource

AT = 1_700_000_000 * 10**9
DUMP = {
    "version": "2.10",
    "entries": [
        {
            "pg_id": 0,
            "process_group": ["0", "default_pg"],
            "collective_seq_id": 8,
            "profiling_name": "gloo:all_reduce",
            "state": "scheduled",
            "retired": False,
        }
    ],
    "pg_status": {"0": {"last_enqueued_collective": "8", "last_completed_collective": "7"}},
}


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server on a Unix socket."""

    daemon_threads = True

    def get_request(self):
        """Return a connection with an address that can be printed."""
        connection, _ = super().get_request()
        return connection, ("worker", 0)


def source(files="", workers="", ranks=list):
    """Return a source that looks and pulls whenever it is read."""
    return FlightRecorderSource("node1", ranks, files, workers, look_seconds=0, pull_seconds=0, clock=lambda: AT)


def read(reader):
    """Return what the source reads, by table; empty for nothing."""
    with contextlib.suppress(NoData):
        return {name: table.to_pylist() for name, table in reader.read().items()}
    return {}


def test_a_dump_that_appears(tmp_path):
    """A dump is read once it is whole, and what is unfinished is an event of its rank."""
    (tmp_path / "trace_rank_0").write_text(json.dumps(DUMP))
    reader = source(f"{tmp_path}/trace_rank_*", ranks=lambda: [LocalRank("job-1", 3, 1, 4001)])
    assert read(reader) == {}
    path = tmp_path / "trace_rank_1"
    path.write_text(json.dumps(DUMP)[:50])
    assert read(reader) == {}
    path.write_text(json.dumps(DUMP))
    assert read(reader) == {}
    found = read(reader)
    (row,) = found["events"]
    assert (row["kind"], row["rank"], row["code"], row["device_id"]) == ("flight_recorder_dump", 1, 8, "default_pg")
    assert "the first all_reduce 8 (scheduled); last enqueued 8, last completed 7" in row["message"]
    assert {row["metric"]: row["value"] for row in found["gauges"]} == {
        "flight_recorder_unfinished": 1,
        "flight_recorder_enqueued": 8,
        "flight_recorder_completed": 7,
    }
    assert read(reader) == {}


def test_a_dump_that_cannot_be_read(tmp_path):
    """What is no dump is told once, and links are not followed."""
    reader = source(f"{tmp_path}/*")
    read(reader)
    (tmp_path / "rank_1").write_bytes(b"\x80\x04garbage")
    (tmp_path / "rank_2").symlink_to(tmp_path / "rank_1")
    kinds = [row["kind"] for _ in range(6) for row in read(reader).get("events", [])]
    assert kinds == ["flight_recorder_unreadable"]


def test_pulling_over_a_unix_socket(tmp_path):
    """A worker server is asked, and its answer is its process's rank's."""
    path = str(tmp_path / "worker_0.sock")
    server = PageServer({"/handler/fr_trace_json": json.dumps(DUMP).encode()}, UnixServer, path)
    try:
        reader = source(workers=f"{tmp_path}/worker_*.sock", ranks=lambda: [LocalRank("job-1", 3, 6, os.getpid())])
        rows = wait_until(lambda: read(reader))["gauges"]
    finally:
        server.close()
    assert {(row["device_id"], row["rank"], row["metric"], row["value"]) for row in rows} == {
        ("default_pg", 6, "flight_recorder_unfinished", 1),
        ("default_pg", 6, "flight_recorder_enqueued", 8),
        ("default_pg", 6, "flight_recorder_completed", 7),
    }
    assert ("POST", "/handler/fr_trace_json") in server.asked


def test_pulling_from_a_port():
    """A worker server on a port is asked as well; one that is away or answers nonsense says nothing."""
    server = PageServer({"/handler/fr_trace_json": b"nonsense"})
    reader = source(workers=f"127.0.0.1:{server.port}, 127.0.0.1:1")
    wait_until(lambda: read(reader) or len(server.asked) > 2)
    server.pages["/handler/fr_trace_json"] = json.dumps(DUMP).encode()
    rows = wait_until(lambda: read(reader))["gauges"]
    server.close()
    assert {row["rank"] for row in rows} == {None}


def test_torchs_own_server(tmp_path):
    """The worker server of torch itself answers."""
    pytest.importorskip("torch")
    from torch._C._distributed_c10d import _WorkerServer  # noqa: PLC0415 - only where torch is

    path = str(tmp_path / "worker.sock")
    server = _WorkerServer(path)
    try:
        reader = source(workers=path)
        reader._ask()
        ((_, exchange),) = reader._asking
        answer = wait_until(exchange.poll)
    finally:
        server.shutdown()
    assert b"200 OK" in answer
    assert exchange.peer == os.getpid()


def test_addresses():
    """A worker by name is refused at the start."""
    with pytest.raises(ValueError):
        source(workers="example.org:1")
