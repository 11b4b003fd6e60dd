"""Workers that share jobs, over a real Redis and a real database."""

import threading
import time

import pytest
from support import wait_until
from tests.analyzer.engine.ringjob import SECOND, RingJob

from offbeat.analyzer.worker import Worker
from offbeat.settings import ServiceSettings
from offbeat.store import open_store, schema
from offbeat.store.engine import Database
from offbeat.store.redis_bus import RedisBus
from offbeat.store.shards import Router, shard_of, topic
from offbeat.wire import encode

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

SHARDS = 4
LEASE_SECONDS = 1.0


class Process:
    """What one process of the service has: its store, its bus, and maybe a worker."""

    def __init__(self, settings, redis_url):
        self.store = open_store(settings)
        self.bus = RedisBus(redis_url, mark=self.store.telemetry.sealed_until)
        self.worker = Worker(self.store, self.bus, self.bus, SHARDS, lease_seconds=LEASE_SECONDS)

    def end(self):
        """End in order."""
        if self.worker._thread.is_alive():
            self.worker.stop()
        self.bus.close()
        self.store.close()


class Api(Process):
    """A replica that takes telemetry of a job that is stalled since some seconds, and goes on to take it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.router, self.n = Router(SHARDS), 0
        self.job = RingJob(now=time.time_ns() - 25 * SECOND)
        self.deliver(self.job.preamble())
        self.run(20)
        self.job.stopped = {3: 1}
        self._ending = threading.Event()
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def run(self, seconds):
        """Deliver what the job's agents send in so many seconds of its time."""
        for _, tables in self.job.run(seconds):
            self.deliver(tables)

    def _feed(self):
        while not self._ending.wait(0.05):
            if self.job.now < time.time_ns():
                self.run(0.25)

    def end(self):
        """End the job's agents first."""
        self._ending.set()
        self._feeder.join()
        super().end()

    def deliver(self, tables):
        """Accept a batch and hand it on."""
        self.n += 1
        self.store.telemetry.accept("h0", 1, self.n, tables, encode(tables))
        for shard, part in self.router.split("h0", tables):
            self.bus.publish(topic(shard), {"host": "h0", "received_at": self.job.now, "tables": part})


@pytest.fixture
def cluster(redis_server, empty_url, tmp_path):
    """Give a function that starts a process of one and the same service."""
    database = Database(empty_url)
    schema.upgrade(database)
    database.close()
    settings = ServiceSettings(data_dir=tmp_path / "data", database_url=empty_url)
    started = []

    def start(kind=Process):
        started.append(kind(settings, redis_server.url))
        return started[-1]

    yield start
    for process in started:
        process.end()


def incidents(process):
    """Return what was found, as (id, state, ranks)."""
    return [(i.id, str(i.state), i.finding.culprits.ranks) for i in process.store.incidents.list().items]


def has_found_again(process, shard):
    """Tell whether the analyzer that a process now has for a shard has looked, and found all that it inherited."""
    mine = process.worker._mine.get(shard)
    return mine is not None and mine.analyzer.looked_at and not mine.analyzer._inherited


def test_workers_share_the_shards(cluster):
    """One alone has all, two have half each, and what one gives back the other takes at once."""
    first, second = cluster(), cluster()
    first.worker.start()
    wait_until(lambda: len(first.worker.shards) == SHARDS)
    second.worker.start()
    wait_until(lambda: (len(first.worker.shards), len(second.worker.shards)) == (2, 2))
    assert first.worker.shards | second.worker.shards == set(range(SHARDS))
    first.worker.stop()
    wait_until(lambda: len(second.worker.shards) == SHARDS)


def test_a_dead_workers_jobs_are_taken_over_and_its_incidents_go_on(cluster):
    """The next one finds the same trouble from segments and the stream: one incident, open, not two.

    The first stands still, as a stopped process does, and when it goes on its writes are refused.
    """
    api, first, second = cluster(Api), cluster(), cluster()
    first.worker.start()
    (found,) = wait_until(lambda: incidents(first))
    assert found[1:] == ("open", (3,))
    api.store.telemetry.seal()
    # It does not renew any more, and knows nothing of it.
    first.worker._keep = first.worker._share = lambda: None
    second.worker.start()
    shard = shard_of("j", SHARDS)
    wait_until(lambda: second.worker.shards == set(range(SHARDS)))
    wait_until(lambda: has_found_again(second, shard))
    assert incidents(second) == [found]
    wait_until(lambda: first.worker._mine[shard].analyzer.fenced or first.worker._mine[shard].reader.closed)


def test_a_worker_that_missed_messages_builds_its_windows_anew(cluster):
    """A hole in the stream is filled from segments."""
    api, worker = cluster(Api), cluster()
    api.store.telemetry.seal()
    worker.worker.start()
    (found,) = wait_until(lambda: incidents(worker))
    assert found[1:] == ("open", (3,))
    before = wait_until(lambda: worker.worker._mine.get(shard_of("j", SHARDS)))
    before.reader.broken = True
    wait_until(lambda: worker.worker._mine.get(shard_of("j", SHARDS), before).analyzer is not before.analyzer)
    assert incidents(worker) == [found]
