"""Duties as Celery tasks, and when they are due.

What is to be done stands in the database; a task carries an id at most. So a task that Redis lost is made again by the
next look at the outbox, and one that Redis delivered twice finds nothing left to do. That is also why the traps of the
Redis broker do no harm here: nothing is scheduled ahead, the longest task ends long before its message counts as lost,
and every task may be carried out again.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from celery import Celery

from offbeat.api import duties
from offbeat.api.deliveries.sender import Sender
from offbeat.settings import ServiceSettings
from offbeat.store import InProcessBus, Store, open_store

if TYPE_CHECKING:
    from datetime import timedelta

SWEEP_SECONDS = 1.0
"""How often the outbox is looked at; an alert waits so long at most."""
AT_ONCE = 100
"""Alerts handed out in one look; more only fill the queue while a receiver is down."""
LONGEST_SECONDS = 120
"""How long one task may take."""
LOST_SECONDS = 600
"""Time after which the broker gives a task that nobody confirmed to another; several times the longest task."""
STALE_SECONDS = 30.0
"""Age at which a task that only says "look" is dropped: while no worker ran, many were made and one is enough."""

BEAT: dict[str, dict[str, str | float | timedelta | dict[str, float]]] = {
    "sweep": {"task": "offbeat.sweep", "schedule": SWEEP_SECONDS, "options": {"expires": STALE_SECONDS}},
    "adopt": {"task": "offbeat.adopt", "schedule": duties.ADOPTION_SECONDS, "options": {"expires": STALE_SECONDS}},
    "expire": {"task": "offbeat.expire", "schedule": duties.RETENTION_SECONDS, "options": {"expires": STALE_SECONDS}},
}
"""What is due how often."""

app = Celery("offbeat")
app.conf.update(
    beat_schedule=BEAT,
    # Its own file of last times would need a place to write; the schedule has nothing to remember.
    beat_scheduler="celery.beat:Scheduler",
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=LONGEST_SECONDS,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": LOST_SECONDS,
        "global_keyprefix": "offbeat:tasks:",
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
    },
    task_default_queue="offbeat",
    timezone="UTC",
)


def connect(settings: ServiceSettings) -> Celery:
    """Return the application, bound to the Redis of *settings*."""
    url = settings.redis_url.get_secret_value()
    if url.startswith("unix://"):
        url = f"redis+socket://{url.removeprefix('unix://')}"
    app.conf.broker_url = url
    return app


@functools.cache
def _store() -> Store:
    return open_store(ServiceSettings())


@functools.cache
def _sender() -> Sender:
    settings = ServiceSettings()
    allow = bool(settings.webhook_allow_private)
    # Never started: tasks bring it what to send.
    return Sender(_store(), InProcessBus(), allow_private=allow, public_url=settings.public_url)


@app.task(name="offbeat.sweep")
def sweep() -> int:
    """Hand out every alert that is due; return how many."""
    ripe = _store().webhooks.ripe(time.time_ns(), AT_ONCE)
    for id_ in ripe:
        deliver.apply_async((id_,), expires=STALE_SECONDS)
    return len(ripe)


@app.task(name="offbeat.deliver")
def deliver(id_: str) -> bool:
    """Send the alert *id_*, unless it is sent, or somebody else is at it; return whether it was tried."""
    delivery = _store().webhooks.take(id_, time.time_ns())
    if delivery is None:
        return False
    _sender().deliver(delivery)
    return True


@app.task(name="offbeat.adopt")
def adopt() -> None:
    """See `duties.adopt`."""
    duties.adopt(_store())


@app.task(name="offbeat.expire")
def expire() -> int:
    """See `duties.expire`."""
    return duties.expire(_store())
