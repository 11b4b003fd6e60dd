"""Leases: which process has the right to something, for how long, and since which change of hands.

A holder that was stopped for a minute and goes on does not know that it lost its lease. So every change of hands has a
number, the fence, and what the holder writes is refused, in the transaction that writes it, once the number is another.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from offbeat.store.engine import Database
from offbeat.store.errors import FencedError
from offbeat.store.tables import Leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Lease:
    """A right: its name, who holds it, and the number of the change of hands that gave it."""

    name: str
    holder: str
    fence: int


class LeaseStore:
    """Leases by name. On PostgreSQL the server's clock alone counts, so holders need not agree on the time."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take the lease *name* for *seconds*; None while another holds it."""
        now = self._now()
        with self._database.write(durable=False) as connection:
            values = {"holder": "", "fence": 0, "expires_at": 0}
            connection.execute(self._database.insert(Leases).values(name=name, **values).on_conflict_do_nothing())
            taken = (
                sa.update(Leases)
                .where(Leases.name == name, (Leases.expires_at <= now) | (Leases.holder == holder))
                .values(holder=holder, fence=Leases.fence + 1, expires_at=now + int(seconds * 1e9))
                .returning(Leases.fence)
            )
            fence = connection.execute(taken).scalar_one_or_none()
        return None if fence is None else Lease(name, holder, fence)

    def renew(self, lease: Lease, seconds: float) -> bool:
        """Hold *lease* for *seconds* from now; False when it is another's."""
        return self._set(lease, self._now() + int(seconds * 1e9))

    def release(self, lease: Lease) -> None:
        """Give *lease* back; whoever wants it need not wait."""
        self._set(lease, 0)

    def holders(self, prefix: str = "") -> dict[str, str]:
        """Return who holds what, of all leases in force whose name begins with *prefix*."""
        query = sa.select(Leases.name, Leases.holder).where(
            Leases.name.startswith(prefix, autoescape=True), Leases.expires_at > self._now()
        )
        with self._database.read() as connection:
            return {row.name: row.holder for row in connection.execute(query)}

    def expire(self, before: int) -> None:
        """Forget leases that ran out before *before* (ns) and name a process, which is never used again."""
        gone = sa.delete(Leases).where(Leases.name.startswith("worker:"), Leases.expires_at < before)
        with self._database.write(durable=False) as connection:
            connection.execute(gone)

    def _set(self, lease: Lease, expires_at: sa.ColumnElement[int] | int) -> bool:
        changed = sa.update(Leases).where(*_is(lease)).values(expires_at=expires_at)
        with self._database.write(durable=False) as connection:
            return bool(connection.execute(changed).rowcount)

    def _now(self) -> sa.ColumnElement[int]:
        if self._database.embedded:
            return sa.literal(self._clock())
        epoch = sa.func.extract("epoch", sa.func.clock_timestamp())
        return sa.cast(epoch * 1_000_000_000, sa.BigInteger)


class FencedDatabase(Database):
    """A database that takes writes only while a lease is in the hands it was given to."""

    def __init__(self, database: Database, lease: Lease) -> None:
        """Write to *database* as the holder of *lease*; connections are shared, and not closed by this one."""
        self.__dict__.update(database.__dict__)
        self._lease = lease

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """Give a connection in a transaction; see `Database.write`.

        Raises:
            FencedError: The lease is another's; nothing is written.
        """
        with super().write(durable=durable) as connection:
            # Shared, so that several of its writes go on at once, and locked, so that nobody takes it before they end.
            query = sa.select(Leases.name).where(*_is(self._lease)).with_for_update(read=True)
            if connection.execute(query).first() is None:
                raise FencedError(f"the lease {self._lease.name} is no longer held by {self._lease.holder}")
            yield connection

    def close(self) -> None:
        """Leave the connections to their owner."""


def _is(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return Leases.name == lease.name, Leases.holder == lease.holder, Leases.fence == lease.fence
