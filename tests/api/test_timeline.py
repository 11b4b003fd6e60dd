"""/jobs/{id}/timeline: a file for a trace viewer."""

import pytest
from batches import send
from findings import SECOND, finding, put_job
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from offbeat import records
from offbeat.api import timeline

T0 = 1_800_000_000_000_000_000
PATH = "/api/v1/jobs/train/timeline"


@pytest.fixture
def job(service):
    """Give a job of 8 ranks with ten operations a second for 20 s, each 40 ms long, and a fault at the 15th."""
    put_job(service.store, now=T0 + 20 * SECOND)
    keys = [(rank, seq) for seq in range(200) for rank in range(8)]
    begin = [T0 + seq * SECOND // 10 + rank for rank, seq in keys]
    rows = len(keys)
    operations = {
        "job": ["train"] * rows,
        "attempt": [0] * rows,
        "comm": ["c0"] * rows,
        "rank": [rank for rank, _ in keys],
        "seq": [seq for _, seq in keys],
        "op": ["all_reduce"] * rows,
        "nbytes": [1024] * rows,
        "started_at": begin,
        "ended_at": [at + SECOND // 25 for at in begin],
    }
    event = {
        "job": ["train"],
        "attempt": [0],
        "at": [T0 + 14 * SECOND],
        "host": ["node1"],
        "kind": ["xid"],
        "message": ["GPU fell off the bus"],
    }
    tables = {"collectives": records.build("collectives", operations), "events": records.build("events", event)}
    send(service.store.telemetry, 1, tables, host="node0")
    service.store.incidents.apply(finding(at=T0 + 15 * SECOND), T0 + 15 * SECOND)
    return service


def trace(answer):
    """Return the trace of an answer: names of its slices and instants."""
    assert answer.status_code == 200, answer.text
    read = Trace()
    read.ParseFromString(answer.content)
    return [p.track_event.name for p in read.packet if p.HasField("track_event") and p.track_event.name]


def test_a_timeline_has_operations_events_and_faults(job, viewer):
    """The newest 30 s by default: all operations, the kernel's word on a host of the job, and the incident."""
    answer = viewer.get(PATH, params={"format": "perfetto"})
    names = trace(answer)
    assert names.count("all_reduce") == 1600
    assert names.count("xid") == 1
    assert names.count("train is slowed by the computation of rank 5, host node1") == 2
    assert answer.headers["content-disposition"] == 'attachment; filename="offbeat-train.pftrace"'


def test_a_timeline_is_cut_to_the_stretch_and_the_ranks_asked_for(job, viewer):
    """Two seconds of two ranks are what reaches into them."""
    query = {"since": T0 + 4 * SECOND, "until": T0 + 6 * SECOND, "rank": [3, 5]}
    assert trace(viewer.get(PATH, params=query)).count("all_reduce") == 40


def test_of_too_much_the_newest_is_given(job, viewer, monkeypatch):
    """A file has a bound; what is left out is the oldest, and the answer says since when it is complete."""
    monkeypatch.setattr(timeline, "SLICES_AT_MOST", 400)
    answer = viewer.get(PATH, params={"since": T0, "until": T0 + 20 * SECOND})
    assert 80 <= trace(answer).count("all_reduce") <= 400
    assert int(answer.headers["offbeat-since"]) >= T0 + 15 * SECOND


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"since": 0}, 422),
        ({"since": T0, "until": T0}, 422),
        ({"since": T0 + SECOND, "until": T0}, 422),
        ({"format": "chrome"}, 422),
        ({"rank": "x"}, 422),
    ],
)
def test_what_makes_no_timeline_is_refused(job, viewer, query, status):
    """More than ten minutes, nothing, backwards, and other formats."""
    assert viewer.get(PATH, params=query).status_code == status


def test_an_unknown_job_is_not_found(service, viewer):
    """As everywhere."""
    assert viewer.get(PATH).status_code == 404
