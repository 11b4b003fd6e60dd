"""Idempotency keys: a request sent twice is carried out once and answered twice alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from offbeat.store.errors import StateError
from offbeat.store.rows import Remembered
from offbeat.store.tables import Idempotency

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store.engine import Database


ABANDONED_NS = 60_000_000_000
"""After so long a request that was never answered may be carried out again: the process that had it is gone."""


class IdempotencyStore:
    """Answers by principal and key."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def claim(self, principal: str, key: str, fingerprint: str) -> Remembered | None:
        """Take *key* for a request whose content hashes to *fingerprint*.

        Returns:
            None: it is yours, carry it out and call `finish` (or `release` when it failed). Else the earlier answer,
            its `status` None while that request is still being carried out.

        Raises:
            StateError: The key was used for another request.
        """
        now = self._clock()
        values = {"fingerprint": fingerprint, "status": None, "body": b"", "created_at": now}
        statement = self._database.insert(Idempotency).values(principal=principal, key=key, **values)
        with self._database.write() as connection:
            if connection.execute(statement.on_conflict_do_nothing().returning(Idempotency.key)).first():
                return None
            row = connection.execute(sa.select(Idempotency).where(*_is(principal, key)).with_for_update()).one()
            if row.fingerprint == fingerprint and row.status is None and row.created_at < now - ABANDONED_NS:
                connection.execute(sa.update(Idempotency).where(*_is(principal, key)).values(created_at=now))
                return None
        if row.fingerprint != fingerprint:
            raise StateError("this idempotency key was used for another request")
        return Remembered(row.status, row.body)

    def finish(self, principal: str, key: str, status: int, body: bytes) -> None:
        """Remember the answer to a claimed request."""
        with self._database.write() as connection:
            connection.execute(sa.update(Idempotency).where(*_is(principal, key)).values(status=status, body=body))

    def release(self, principal: str, key: str) -> None:
        """Give a claimed key back: the request had no effect and may be sent again."""
        with self._database.write() as connection:
            connection.execute(sa.delete(Idempotency).where(*_is(principal, key), Idempotency.status.is_(None)))

    def expire(self, before: int) -> None:
        """Forget keys first seen before *before* (ns)."""
        with self._database.write(durable=False) as connection:
            connection.execute(sa.delete(Idempotency).where(Idempotency.created_at < before))


def _is(principal: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return Idempotency.principal == principal, Idempotency.key == key
