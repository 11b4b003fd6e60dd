"""What must be done now and then, whoever does it: one function a duty, run by threads here or by Celery elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import structlog

from offbeat import metrics
from offbeat.api.deliveries.sender import Sender
from offbeat.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from offbeat.store import Bus, Store

RETENTION_SECONDS = 600.0
"""How often what is too old is deleted; rarely lets the disk fill between, often wears the database."""
ADOPTION_SECONDS = 10.0
"""How often logs of dead processes are looked for; until one is found, its newest records are in no segment."""

_expired = metrics.counter("offbeat_retention_expired_total")
_log = structlog.get_logger(__name__)


def expire(store: Store) -> int:
    """Delete what is older than the settings keep; return the number of segment files deleted."""
    gone = store.expire(time.time_ns())
    _expired.inc(gone)
    return gone


def adopt(store: Store) -> None:
    """Turn what dead processes left in their logs into segments."""
    store.telemetry.adopt()


class Every:
    """A thread that does one duty again and again; what fails now is tried the next time."""

    def __init__(self, seconds: float, duty: Callable[[], object], name: str) -> None:
        """Prepare to do *duty* every so many *seconds*."""
        self._seconds, self._duty, self._name = seconds, duty, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"offbeat-{name}", daemon=True)

    def __enter__(self) -> Self:
        """Start; the first time comes after the pause."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End after what is being done."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._duty()
            except (StoreError, OSError) as error:
                _log.warning("duty not done", duty=self._name, error=str(error))


@contextmanager
def running(store: Store, bus: Bus, *, allow_private: bool, public_url: str) -> Iterator[None]:
    """Do every duty in threads of this process while the block lasts; several processes may."""
    sender = Sender(store, bus, allow_private=allow_private, public_url=public_url)
    sender.start()
    try:
        with (
            Every(RETENTION_SECONDS, lambda: expire(store), "retention"),
            Every(ADOPTION_SECONDS, lambda: adopt(store), "adoption"),
        ):
            yield
    finally:
        sender.stop()
