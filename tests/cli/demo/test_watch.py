"""What the demo sees of a job is what the real API shows."""

import threading
import time

import pytest
from support import wait_until

from offbeat.api.app import create_app
from offbeat.api.serving import Server, listen_tcp, url_of
from offbeat.cli.demo.watch import Watch
from offbeat.model import Action, Advice, Culprits, FaultClass, Finding, Severity
from offbeat.settings import ServiceSettings
from offbeat.store import InProcessBus, Role, open_store


@pytest.fixture
def store(tmp_path):
    """Give an open store."""
    with open_store(ServiceSettings(data_dir=tmp_path, database_url="")) as store:
        yield store


@pytest.fixture
def watch(store, tmp_path):
    """Give a watch on job `demo` of a service that runs."""
    bus = InProcessBus()
    server = Server(create_app(store, bus, ServiceSettings(data_dir=tmp_path)))
    with listen_tcp("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        watch = Watch(url_of(listener), store.tokens.create(Role.VIEWER)[0], "demo")
        yield watch
        watch.close()
        server.should_exit = True
        thread.join()
    bus.close()


def apply(store, id_, *, rank, job="demo", ended=None):
    """Let the store know of a finding that names *rank*."""
    finding = Finding(
        id=id_,
        fault=FaultClass.SLOW_COMPUTE,
        severity=Severity.WARNING,
        summary="late",
        advice=Advice(Action.INSPECT, "why"),
        culprits=Culprits(ranks=(rank,)),
        started_at=1,
        detected_at=2,
        ended_at=ended,
        job=job,
    )
    store.incidents.apply(finding, time.time_ns())


def test_nothing_is_known_before_anything_came(watch):
    """A job that the service has not heard of has no state and no incidents."""
    assert watch.state() == ""
    assert watch.look() == []


def test_every_name_an_incident_ever_carried_is_kept(watch, store):
    """An incident that changes its culprit is one sighting with both findings, first seen when it first came."""
    apply(store, "a", rank=3)
    first = watch.look()[0].first_seen
    apply(store, "a", rank=5)
    (sighting,) = watch.look()
    assert [finding["culprits"]["ranks"] for finding in sighting.findings] == [[3], [5]]
    assert sighting.first_seen == first
    assert not sighting.over


def test_an_incident_that_ended_is_over(watch, store):
    """A finding that ended is over in the eyes of the demo."""
    apply(store, "a", rank=3)
    assert not watch.look()[0].over
    apply(store, "a", rank=3, ended=time.time_ns())
    assert watch.look()[0].over


def test_all_pages_of_this_job_and_no_other(watch, store):
    """More incidents than one page holds are all seen, another job's are not."""
    for i in range(101):
        apply(store, f"f{i}", rank=i)
    apply(store, "other", rank=1, job="another")
    assert len(watch.look()) == 101


def test_only_what_came_since(watch, store):
    """Incidents first seen before a time are left out."""
    apply(store, "a", rank=3)
    watch.look()
    between = time.time()
    apply(store, "b", rank=4)
    assert [sighting.findings[0]["id"] for sighting in watch.since(between)] == ["b"]
