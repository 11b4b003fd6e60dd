"""Orders to nodes: given once, numbered so that an agent that has seen n has seen all before n, answered once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from offbeat.store import audit
from offbeat.store.cursors import number
from offbeat.store.errors import BusyError, NotFoundError
from offbeat.store.rows import OrderRow, Page
from offbeat.store.tables import Counters, Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from offbeat.store.engine import Database

OPEN_PER_HOST = 32
"""Orders of one host that may wait; without it a host that is away collects them without end."""
MINUTE_PER_HOST = 60
"""Orders given to one host within a minute; without it orders can take a node's time from its job."""
SECONDS = 600.0
"""How long an order may wait; what a node has to do about a hang is of no use an hour later."""
_MINUTE_NS = 60_000_000_000
_COUNTER = "orders"


class OrderStore:
    """Rows of orders: `open`, then `done`, `failed` or `refused` by the node, `expired`, or `replaced` by a later."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def give(
        self, host: str, kind: str, arguments: Mapping[str, Any], *, who: str, seconds: float = SECONDS
    ) -> OrderRow:
        """Give *host* an order; one of kind `bounds` replaces those for the same job that still wait.

        Args:
            host: The host.
            kind: The template.
            arguments: Its arguments, checked.
            who: Who gives it, for the audit log.
            seconds: How long it may wait to be carried out.

        Raises:
            BusyError: The host has too many orders as it is.
        """
        now = self._clock()
        with self._database.write() as connection:
            connection.execute(self._database.insert(Counters).values(name=_COUNTER, value=0).on_conflict_do_nothing())
            # Held until the commit: orders become visible in the order of their numbers, and are counted rightly.
            drawn = sa.select(Counters.value).where(Counters.name == _COUNTER).with_for_update()
            last = connection.execute(drawn).scalar_one()
            if kind == "bounds":
                self._replace(connection, host, arguments, now)
            self._check_room(connection, host, now)
            values: dict[str, Any] = {
                "id": last + 1, "host": host, "kind": kind, "arguments": dict(arguments), "who": who, "state": "open",
                "created_at": now, "expires_at": now + int(seconds * 1e9), "finished_at": None, "result": {},
            }  # fmt: skip
            connection.execute(sa.insert(Orders).values(values))
            connection.execute(sa.update(Counters).where(Counters.name == _COUNTER).values(value=last + 1))
            audit.note(connection, now, who, "order given", {"order": last + 1, "host": host, "kind": kind})
        return OrderRow(**values)

    def waiting(self, host: str, after: int = 0) -> tuple[OrderRow, ...]:
        """Return the orders of *host* with a number above *after* that wait to be carried out, oldest first."""
        query = sa.select(Orders).where(Orders.host == host, Orders.id > after, *self._open()).order_by(Orders.id)
        with self._database.read() as connection:
            return tuple(OrderRow(**row._asdict()) for row in connection.execute(query))

    def newest(self, after: int = 0) -> dict[str, int]:
        """Return the number of the newest order above *after* that waits, by host."""
        query = sa.select(Orders.host, sa.func.max(Orders.id)).where(Orders.id > after, *self._open())
        with self._database.read() as connection:
            return {host: int(last) for host, last in connection.execute(query.group_by(Orders.host))}

    def finish(self, host: str, id_: int, state: str, result: Mapping[str, Any], *, who: str) -> OrderRow:
        """Note what became of an order; the first answer stays.

        Raises:
            NotFoundError: *host* has no such order.
        """
        now = self._clock()
        mine = (Orders.id == id_, Orders.host == host)
        with self._database.write() as connection:
            row = connection.execute(sa.select(Orders).where(*mine).with_for_update()).one_or_none()
            if row is None:
                raise NotFoundError(f"host {host!r} has no order {id_}")
            if row.finished_at is None:
                changed = {"state": state, "result": dict(result), "finished_at": now}
                connection.execute(sa.update(Orders).where(*mine).values(changed))
                audit.note(connection, now, who, "order answered", {"order": id_, "host": host, "state": state})
                row = connection.execute(sa.select(Orders).where(*mine)).one()
        return OrderRow(**row._asdict())

    def list(self, host: str, cursor: str | None = None, limit: int = 100) -> Page[OrderRow]:
        """Return the orders of *host*, the latest first.

        Raises:
            CursorError: *cursor* is not one of this list's.
        """
        query = sa.select(Orders).where(Orders.host == host).order_by(Orders.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(Orders.id < number(cursor))
        with self._database.read() as connection:
            found = [self._as_of_now(OrderRow(**row._asdict())) for row in connection.execute(query)]
        items = tuple(found[:limit])
        return Page(items, str(items[-1].id) if len(found) > limit else None)

    def expire(self, before: int) -> None:
        """Forget orders given before *before* (ns)."""
        with self._database.write(durable=False) as connection:
            connection.execute(sa.delete(Orders).where(Orders.created_at < before))

    def _open(self) -> tuple[sa.ColumnElement[bool], ...]:
        return Orders.state == "open", Orders.expires_at > self._clock()

    def _as_of_now(self, row: OrderRow) -> OrderRow:
        return row.expired() if row.state == "open" and row.expires_at <= self._clock() else row

    def _replace(self, connection: sa.Connection, host: str, arguments: Mapping[str, Any], now: int) -> None:
        same = sa.select(Orders.id, Orders.arguments).where(Orders.host == host, Orders.kind == "bounds", *self._open())
        old = [id_ for id_, known in connection.execute(same) if known["job"] == arguments["job"]]
        if old:
            gone = sa.update(Orders).where(Orders.id.in_(old))
            connection.execute(gone.values(state="replaced", finished_at=now))

    def _check_room(self, connection: sa.Connection, host: str, now: int) -> None:
        count = sa.select(sa.func.count()).select_from(Orders).where(Orders.host == host)
        if connection.execute(count.where(*self._open())).scalar_one() >= OPEN_PER_HOST:
            raise BusyError(f"host {host!r} has {OPEN_PER_HOST} orders that wait; is its agent away?")
        if connection.execute(count.where(Orders.created_at > now - _MINUTE_NS)).scalar_one() >= MINUTE_PER_HOST:
            raise BusyError(f"host {host!r} was given {MINUTE_PER_HOST} orders within a minute")
