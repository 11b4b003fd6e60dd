"""The analyzer of a running service, on a real store."""

from __future__ import annotations

import pytest
from tests.analyzer.engine.ringjob import SECOND, RingJob

from offbeat.analyzer.bounds import EVERY_NS
from offbeat.analyzer.live import Analyzer
from offbeat.orders import check
from offbeat.settings import ServiceSettings
from offbeat.store import InProcessBus, UnavailableError, open_store
from offbeat.wire import encode


class Service:
    """Store, bus and analyzer around one simulated job, with the job's clock."""

    def __init__(self, store):
        self.store, self.bus, self.job, self.n = store, InProcessBus(), RingJob(), 0
        self.restart()
        self.deliver(self.job.preamble())

    def restart(self):
        self.analyzer = Analyzer(self.store, self.bus, clock=lambda: self.job.now)
        self.incoming = self.bus.subscribe("telemetry")
        self.analyzer._read_back()

    def deliver(self, tables):
        self.n += 1
        self.store.telemetry.accept("h0", 1, self.n, tables, encode(tables))
        self.analyzer._ingest({"tables": tables, "received_at": self.job.now})

    def run(self, seconds):
        for _, tables in self.job.run(seconds):
            self.deliver(tables)
            self.analyzer._look()
            self.analyzer._write_jobs()

    @property
    def incidents(self):
        return self.store.incidents.list().items


@pytest.fixture
def service(tmp_path):
    """A service whose job's beat is learned."""
    with open_store(ServiceSettings(data_dir=tmp_path)) as store:
        made = Service(store)
        made.run(15)
        yield made


def test_job_beat_and_lateness_are_written(service):
    """What people look at is in the store: the job as running, its beat, and ranks by time."""
    job = service.store.jobs.get("j")
    assert (job.state, job.world, job.hosts) == ("running", 8, tuple(f"h{r}" for r in range(8)))
    assert [b.iteration_ns for b in service.store.jobs.beats("j")] == pytest.approx([70e6] * 7, rel=0.1)
    times, ranks, lateness = service.store.jobs.lateness("j")
    assert lateness.shape == (len(times), len(ranks)) == (len(times), 8)


def test_agents_get_the_bounds_that_were_learned(service):
    """Each host is told how long operations of its communicators may last, once, and again when that has changed."""
    service.run(1)
    (order,) = service.store.orders.waiting("h3")
    assert (order.kind, order.who, order.arguments["job"]) == ("bounds", "analyzer", "j")
    assert check(order.kind, order.arguments).communicators
    assert all(3.0 <= seconds < 30.0 for seconds in order.arguments["communicators"].values())
    teller = service.analyzer._bounds
    teller.tell(service.analyzer._engine, service.job.now + EVERY_NS)
    assert service.store.orders.waiting("h3") == (order,)
    key = next(key for key in teller._told if key[2] == "h3")
    teller._told[key] = {comm: 2 * seconds for comm, seconds in teller._told[key].items()}
    teller.tell(service.analyzer._engine, service.job.now + 3 * EVERY_NS)
    (newer,) = service.store.orders.waiting("h3")
    assert newer.id > order.id


def test_incident_opens_and_resolves_by_itself(service):
    """A fault becomes an open incident, told on the bus, and its end resolves it."""
    told = service.bus.subscribe("incidents")
    service.job.slow = {3: 1.5}
    service.run(10)
    (incident,) = service.incidents
    assert (incident.state, incident.finding.culprits.ranks) == ("open", (3,))
    service.job.slow = {}
    service.run(8)
    assert service.incidents[0].state == "resolved"
    assert [told.get(0).state for _ in range(2)] == ["open", "resolved"]


def test_finding_the_store_cannot_take_is_written_later(service, monkeypatch):
    """A database that is away for a moment delays an incident, and loses none."""
    apply = service.store.incidents.apply

    def away(*_):
        raise UnavailableError("away")

    monkeypatch.setattr(service.store.incidents, "apply", away)
    service.job.slow = {3: 1.5}
    service.run(10)
    assert service.incidents == ()
    monkeypatch.setattr(service.store.incidents, "apply", apply)
    service.run(0.5)
    assert [i.finding.culprits.ranks for i in service.incidents] == [(3,)]


def test_restarted_service_goes_on_with_an_open_incident(service):
    """The same hang found again after a restart is the same incident, not a second one."""
    service.job.stopped = {3: 1}
    service.run(5)
    (before,) = service.incidents
    service.restart()
    service.run(5)
    (after,) = service.incidents
    assert (after.id, after.state) == (before.id, "open")


def test_restarted_service_leaves_jobs_long_over_alone(service):
    """A job without recent records is not brought back to life by what describes it."""
    service.job.now += 600 * SECOND
    before = service.store.jobs.get("j")
    service.restart()
    service.analyzer._look()
    service.analyzer._write_jobs()
    assert service.store.jobs.get("j") == before


def test_incident_whose_fault_ended_while_the_service_was_down_ends(service):
    """An incident nobody can find again ends once its job has run for a while."""
    service.job.slow = {3: 1.5}
    service.run(10)
    service.job.slow = {}
    service.restart()
    service.run(45)
    (incident,) = service.incidents
    assert incident.state == "resolved"
