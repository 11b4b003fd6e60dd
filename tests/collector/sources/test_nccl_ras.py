"""Asking NCCL's RAS."""

import contextlib
import json
from pathlib import Path

import pytest
from ras_server import RasServer
from support import wait_until

from offbeat.collector.addresses import Address
from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.nccl_ras import NcclRasSource

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "nccl_ras"
AT = 1_700_000_000 * 10**9
RANKS = [LocalRank("job-1", 3, rank, 4000 + rank) for rank in range(2)]


def report(launched, missing=(), error=0):
    """Return a report of one communicator: what each rank launched, two ranks a host."""

    def rank(place):
        return {"rank": place, "host": f"10.0.0.{place // 2 + 1}", "pid": 4000 + place % 2, "nvml_dev": place}

    ranks = [
        rank(place) | {"status": {"async_error": error}, "collective_counts": {"AllReduce": count, "Broadcast": 3}}
        for place, count in launched.items()
    ]
    gone = [rank(place) | {"status": {"unresponsive": True, "considered_dead": True}} for place in missing]
    size = len(ranks) + len(gone)
    return json.dumps({"communicators": [{"hash": "0xabc", "size": size, "ranks": ranks, "missing_ranks": gone}]})


@pytest.fixture
def server():
    """Return an RAS server."""
    found = RasServer()
    yield found
    found.close()


def source(server, ranks=RANKS):
    """Return a source that asks whenever it is read."""
    return NcclRasSource(
        "node1",
        lambda: ranks,
        f"localhost:{server.port}",
        ask_seconds=0,
        ask_unknown_seconds=0,
        addresses=lambda: [Address("eth0", "10.0.0.1")],
        clock=lambda: AT,
    )


def ask(reader, table="gauges"):
    """Return the rows of the next answer that has a table."""

    def read():
        with contextlib.suppress(NoData):
            return reader.read()
        return None

    return {name: found.to_pylist() for name, found in wait_until(lambda: _with(read(), table)).items()}


def _with(tables, name):
    return tables if tables and name in tables else None


def test_counts_of_all_ranks(server):
    """Each rank's launches are gauges; those of ranks of this host bear their job and global rank."""
    server.report = report({0: 10, 1: 10, 2: 10, 3: 7})
    rows = ask(source(server))["gauges"]
    found = {(row["device_id"], row["metric"]): row["value"] for row in rows}
    assert found["0xabc/3", "nccl_ras_all_reduce_launched_total"] == 7
    assert found["0xabc/3", "nccl_ras_behind"] == 3
    assert found["0xabc/0", "nccl_ras_behind"] == 0
    assert {(row["device_id"], row["rank"]) for row in rows} == {
        ("0xabc/0", 0),
        ("0xabc/1", 1),
        ("0xabc/2", None),
        ("0xabc/3", None),
    }
    assert {"CLIENT PROTOCOL 2", "TIMEOUT 5", "SET FORMAT JSON", "VERBOSE STATUS"} <= set(server.said)


def test_a_rank_that_stays_behind(server):
    """A rank is told to be behind once it was so in two reports without having launched anything between."""
    reader = source(server)
    server.report = report({0: 10, 1: 8})
    assert "events" not in ask(reader)
    server.report = report({0: 12, 1: 10})
    assert "events" not in ask(reader)
    server.report = report({0: 14, 1: 10})
    (row,) = ask(reader, "events")["events"]
    assert (row["kind"], row["rank"], row["device_id"]) == ("nccl_ras_behind", 1, "0xabc/1")
    assert "4 operations AllReduce fewer" in row["message"]
    assert "events" not in ask(reader)


def test_a_rank_that_is_missing(server):
    """A rank that does not answer is told once, and again after it was back."""
    reader = source(server)
    kinds = []
    for missing in ((1,), (1,), (), (1,)):
        server.report = report({0: 5} | ({} if missing else {1: 5}), missing)
        kinds += [row["kind"] for row in ask(reader).get("events", [])]
    assert kinds == ["nccl_ras_dead", "nccl_ras_dead"]


def test_the_monitor(server):
    """What the monitor's stream says of a peer is an event at once."""
    reader = source(server)
    server.report = report({0: 5})
    ask(reader)
    wait_until(server.watched)
    server.tell(
        json.dumps({"event": "PEER_DEAD", "group": "LIFECYCLE", "peer": {"host": "10.0.0.1", "pid": 4001}}, indent=1)
    )
    (row,) = ask(reader, "events")["events"]
    assert (row["kind"], row["rank"]) == ("nccl_ras_peer_dead", 1)


def test_one_host_asks(server):
    """Only the host of rank 0 asks, so that a job of a thousand hosts is asked once."""
    reader = source(server, [LocalRank("job-1", 3, 8, 4008)])
    for _ in range(5):
        with pytest.raises(NoData):
            reader.read()
    assert server.said == []


def test_nobody_there(server):
    """Without a job with NCCL there is nothing to say."""
    reader = source(server)
    server.close()
    for _ in range(20):
        with pytest.raises(NoData):
            reader.read()


def test_an_answer_that_is_no_report(server):
    """What is no report is an error of this source alone."""
    server.report = "Job summary: all well\n"
    with pytest.raises(OSError, match="RAS"):
        ask(source(server))


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples/nccl_ras")
@pytest.mark.parametrize(("name", "kind"), [("status_ok", None), ("status_rank6_dead", "nccl_ras_dead")])
def test_samples(server, name, kind):
    """A healthy report says nothing, one with a dead rank names it."""
    server.report = (SAMPLES / f"{name}.json").read_text()
    found = ask(source(server))
    assert [row["kind"] for row in found.get("events", [])] == ([kind] if kind else [])
