"""Duties as Celery tasks, with a real worker, a real clock and a real Redis."""

import time

import pytest
from command import Cli
from findings import finding
from receiver import Receiver
from support import wait_until

from offbeat.api import duties, tasks
from offbeat.settings import ServiceSettings
from offbeat.store import open_store, schema
from offbeat.store.engine import Database
from offbeat.store.webhooks import LEASE_NS


def test_the_broker_never_gives_a_running_task_away():
    """A task ends long before its message counts as lost; nothing is scheduled ahead; messages hold no code."""
    conf = tasks.app.conf
    assert conf.task_time_limit * 2 < conf.broker_transport_options["visibility_timeout"]
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier, conf.accept_content) == (True, 1, ["json"])
    assert {entry["task"] for entry in tasks.BEAT.values()} <= set(tasks.app.tasks)
    assert tasks.BEAT["expire"]["schedule"] == duties.RETENTION_SECONDS


def test_a_delivery_is_taken_once(tmp_path):
    """A task that comes twice, or for what is sent already, finds nothing to do."""
    with open_store(ServiceSettings(data_dir=tmp_path)) as store:
        store.webhooks.add("http://127.0.0.1:9/", "offbeat")
        store.incidents.apply(finding(), time.time_ns())
        now = time.time_ns()
        (id_,) = store.webhooks.ripe(now)
        assert store.webhooks.take("msg_other", now) is None
        assert store.webhooks.take(id_, now).id == id_
        assert store.webhooks.take(id_, now) is None
        assert store.webhooks.ripe(now) == ()
        assert store.webhooks.ripe(now + LEASE_NS) == (id_,)
        store.webhooks.done(id_)
        assert store.webhooks.take(id_, now + LEASE_NS) is None


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_alerts_are_sent_once_while_workers_are_killed(redis_server, empty_url, tmp_path):
    """One worker is killed, Redis loses its memory: each alert arrives, and none twice."""
    database = Database(empty_url)
    schema.upgrade(database)
    database.close()
    receiver = Receiver()
    env = {
        "OFFBEAT_DATABASE_URL": empty_url,
        "OFFBEAT_REDIS_URL": redis_server.url,
        "OFFBEAT_DATA_DIR": str(tmp_path),
        "OFFBEAT_WEBHOOK_ALLOW_PRIVATE": "true",
    }
    processes = [Cli(**env).start(name) for name in ("tasks", "tasks", "beat")]
    try:
        with open_store(ServiceSettings(data_dir=tmp_path, database_url=empty_url)) as store:
            store.webhooks.add(receiver.url, "offbeat")

            def alert(name):
                store.incidents.apply(finding(name), time.time_ns())

            alert("one")
            # A worker killed between sending and saying so sends again after its lease, under the same id.
            wait_until(lambda: store.webhooks.pending() == 0, 60)
            processes[0].kill()
            redis_server.kill()
            alert("two")
            redis_server.start()
            wait_until(lambda: len(receiver.requests) == 2, 60)
            alert("three")
            wait_until(lambda: len(receiver.requests) == 3, 60)
            wait_until(lambda: store.webhooks.pending() == 0)
        ids = [headers["webhook-id"] for headers, _, _ in receiver.requests]
        assert len(set(ids)) == 3
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=20)
        receiver.close()
