"""The store: one door to both halves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from offbeat.store import schema
from offbeat.store.audit import AuditStore
from offbeat.store.engine import Database
from offbeat.store.idempotency import IdempotencyStore
from offbeat.store.incidents import IncidentStore
from offbeat.store.jobs import JobStore
from offbeat.store.leases import FencedDatabase, LeaseStore
from offbeat.store.nodes import NodeStore
from offbeat.store.orders import OrderStore
from offbeat.store.telemetry import Telemetry
from offbeat.store.tokens import TokenStore, pepper
from offbeat.store.webhooks import WebhookStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from offbeat.settings import ServiceSettings
    from offbeat.store.leases import Lease

_HOUR_NS = 3_600_000_000_000


class Ledgers:
    """What an analyzer reads and writes."""

    def __init__(self, database: Database, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        """Keep them in *database*."""
        self.jobs = JobStore(database)
        self.incidents = IncidentStore(database, clock)
        self.orders = OrderStore(database, clock)
        self.telemetry = telemetry


class Store(Ledgers):
    """All that lasts; safe to use from many threads."""

    def __init__(
        self,
        database: Database,
        directory: Path,
        key: bytes,
        clock: Callable[[], int] = time.time_ns,
        *,
        segment_hours: float = 24.0,
        history_days: float = 14.0,
    ) -> None:
        """Open the store on *database* (at the right revision) and *directory*; `open_store` does both."""
        super().__init__(database, Telemetry(database, directory, clock), clock)
        self._database = database
        self._clock = clock
        self._segment_ns = int(segment_hours * _HOUR_NS)
        self._history_ns = int(history_days * 24 * _HOUR_NS)
        self.nodes = NodeStore(database, clock)
        self.webhooks = WebhookStore(database, clock)
        self.tokens = TokenStore(database, key, clock)
        self.audit = AuditStore(database, clock)
        self.idempotency = IdempotencyStore(database, clock)
        self.leases = LeaseStore(database, clock)

    def ping(self) -> None:
        """Make sure that the database answers and has the schema this program needs.

        Raises:
            UnavailableError: It does not answer.
            SchemaError: It has another schema.
        """
        schema.check(self._database)

    def fenced(self, lease: Lease) -> Ledgers:
        """Return the part an analyzer needs, which takes writes only while *lease* is in the hands it was given to."""
        return Ledgers(FencedDatabase(self._database, lease), self.telemetry, self._clock)

    def expire(self, now: int) -> int:
        """Delete what is older at *now* (ns) than the settings keep; return the number of segment files deleted."""
        self.jobs.expire(now - self._history_ns, now - self._segment_ns)
        self.nodes.expire(now - self._history_ns)
        self.orders.expire(now - self._history_ns)
        self.incidents.expire(now - self._history_ns)
        self.idempotency.expire(now - 24 * _HOUR_NS)
        self.leases.expire(now - _HOUR_NS)
        return self.telemetry.expire(now - self._segment_ns)

    def close(self) -> None:
        """Seal what is open and let go of files and connections."""
        self.telemetry.close()
        self._database.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def open_store(settings: ServiceSettings) -> Store:
    """Open the store that *settings* name; the embedded database is brought to the right revision first.

    Raises:
        SchemaError: The database needs `offbeat db upgrade`, or is of a later program.
        UnavailableError: The database does not answer.
        OSError: The data directory cannot be written.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.sql_url)
    try:
        if database.embedded:
            schema.upgrade(database)
        else:
            schema.check(database)
        key = settings.token_pepper.get_secret_value().encode() or pepper(settings.data / "pepper")
        return Store(
            database,
            settings.data,
            key,
            segment_hours=settings.segment_hours,
            history_days=settings.history_days,
        )
    except BaseException:
        database.close()
        raise
