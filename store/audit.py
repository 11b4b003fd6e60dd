"""The audit log: who did what. Written in the same transaction as the deed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from offbeat.store.cursors import number
from offbeat.store.rows import AuditRow, Page
from offbeat.store.tables import Audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store.engine import Database


class AuditStore:
    """What people and programs did, the latest first."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep it in *database*."""
        self._database = database
        self._clock = clock

    def add(self, who: str, what: str, detail: dict[str, Any] | None = None) -> None:
        """Note that *who* did *what*; *detail* must fit JSON and hold no secrets."""
        with self._database.write() as connection:
            note(connection, self._clock(), who, what, detail)

    def list(self, cursor: str | None = None, limit: int = 100) -> Page[AuditRow]:
        """Return entries, the latest first.

        Raises:
            CursorError: *cursor* is not one of this list's.
        """
        query = sa.select(Audit).order_by(Audit.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(Audit.id < number(cursor))
        with self._database.read() as connection:
            found = [AuditRow(**row._asdict()) for row in connection.execute(query)]
        items = tuple(found[:limit])
        return Page(items, str(items[-1].id) if len(found) > limit else None)


def note(connection: sa.Connection, at: int, who: str, what: str, detail: dict[str, Any] | None = None) -> None:
    """Add an entry within the transaction of *connection*."""
    connection.execute(sa.insert(Audit).values(at=at, who=who, what=what, detail=detail or {}))
