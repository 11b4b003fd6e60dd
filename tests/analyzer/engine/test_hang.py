"""Hangs whose culprit other witnesses tell: processes, carriers, connections, silence."""

from __future__ import annotations

import pytest
from tests.analyzer.engine.ringjob import SECOND

from offbeat.model import FaultClass
from offbeat.records import build

STUCK = {"backoff": 4, "unacked": 5, "busy": 1.0, "sent": 0}


def event(job, kind, rank=None, host=None, device=None):
    """Return an events table of one row."""
    return build(
        "events",
        {
            "job": ["j"],
            "attempt": [1],
            "at": [job.job.now],
            "host": [host or job.job.host(rank)],
            "rank": [rank],
            "device_kind": ["nic" if device else "process"],
            "device_id": [device],
            "kind": [kind],
        },
    )


def everybody_inside(job):
    """Let all ranks enter the first collective of the step, and none leave it."""
    job.job.jammed = True


def test_stopped_process_is_named_though_it_entered(bench):
    """A rank stopped inside a collective that all entered is named by the state of its process, sooner than others."""
    job = bench()
    everybody_inside(job)
    job.tell(events=event(job, "process_stopped", rank=5))
    (finding,) = job.run(3)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.HANG_IN_TRANSPORT, (5,))


def test_hang_without_a_witness_accuses_nobody(bench):
    """When everybody entered and nothing stands out, nobody is named, and what would tell is said."""
    job = bench()
    everybody_inside(job)
    (finding,) = job.run(8)
    assert finding.fault is FaultClass.HANG_IN_TRANSPORT
    assert (finding.culprits.ranks, finding.culprits.hosts) == ((), ())
    assert "transfer records" in job.engine.abstained["j"].why


def test_host_whose_connections_time_out_is_cut_off(bench):
    """Backoff with unacknowledged data on all paths of one host names that host."""
    job = bench()
    everybody_inside(job)
    job.job.edges.hot = {3: STUCK, 4: STUCK}
    (finding,) = job.run(6)
    assert (finding.fault, finding.culprits.hosts) == (FaultClass.HANG_IN_TRANSPORT, ("h3",))


def test_lost_carrier_names_the_host_also_after_it_is_back(bench):
    """A link that was down for a moment stays the reason of the hang it made, while connections recover."""
    job = bench()
    everybody_inside(job)
    job.tell(events=event(job, "carrier_lost", host="h6", device="eth0"))
    (finding,) = job.run(5)
    assert finding.culprits.hosts == ("h6",)
    assert finding.culprits.devices[0].id == "eth0"
    job.tell(events=event(job, "carrier_found", host="h6", device="eth0"))
    assert job.run(10) == []


def test_silent_host_that_others_wait_for_is_lost(bench, monkeypatch):
    """Silence and peers that wait are two witnesses: the host is lost."""
    job = bench()
    job.job.stopped = {2: 1}
    tables = job.job._tables

    def without_h2(rows):
        made = tables([r for r in rows if r["rank"] != 2])
        beats = made["heartbeats"]
        return made | {"heartbeats": beats.filter([h != "h2" for h in beats.column("host").to_pylist()])}

    monkeypatch.setattr(job.job, "_tables", without_h2)
    told = job.run(8)
    assert (told[-1].fault, told[-1].culprits.hosts) == (FaultClass.LOST_HOST, ("h2",))


def test_silence_alone_accuses_nobody(bench, monkeypatch):
    """A silent agent whose ranks go on is lost telemetry, and nobody is named."""
    job = bench()
    tables = job.job._tables

    def without_beat(rows):
        made = tables(rows)
        beats = made["heartbeats"]
        return made | {"heartbeats": beats.filter([h != "h2" for h in beats.column("host").to_pylist()])}

    monkeypatch.setattr(job.job, "_tables", without_beat)
    (finding,) = job.run(15)
    assert (finding.fault, finding.severity) == (FaultClass.TELEMETRY_LOST, "info")
    assert finding.culprits.hosts == ()


@pytest.mark.parametrize("kind", ["eval", "checkpoint"])
def test_announced_pause_is_no_hang(bench, kind):
    """A job that says it is in a checkpoint or an evaluation may stand still."""
    job = bench()
    span = {"job": ["j"], "attempt": [1], "rank": [0], "kind": [kind], "started_at": [job.job.now]}
    job.tell(spans=build("spans", span))
    job.job.stopped = {0: 1}
    assert job.run(30) == []
    job.tell(spans=build("spans", span | {"ended_at": [job.job.now + SECOND]}))
    assert [f.culprits.ranks for f in job.run(2)] == [(0,)]
