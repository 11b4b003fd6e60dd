"""The stream of incident changes, numbered so that a reader who has seen n has seen all before n."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from offbeat.store.rows import Incident, IncidentEvent
from offbeat.store.tables import Counters, IncidentEvents

if TYPE_CHECKING:
    from offbeat.store.engine import Database

_NAME = "incident_events"
_SHOWN = (IncidentEvents.seq, IncidentEvents.at, IncidentEvents.kind, IncidentEvents.incident)


class Log:
    """The right to change incidents, held until the transaction ends; one transaction at a time has it.

    A number that the database hands out by itself may become visible after a later one, and a reader who already passed
    it would never see the event. So numbers are drawn from a row that stays locked until the commit.
    """

    def __init__(self, database: Database, connection: sa.Connection, at: int) -> None:
        """Wait for the right; events are dated *at* (ns)."""
        self.connection = connection
        self._at = at
        connection.execute(database.insert(Counters).values(name=_NAME, value=0).on_conflict_do_nothing())
        query = sa.select(Counters.value).where(Counters.name == _NAME).with_for_update()
        self._last = connection.execute(query).scalar_one()

    def add(self, kind: str, incident: Incident) -> None:
        """Add an event."""
        self._last += 1
        values = {"seq": self._last, "at": self._at, "kind": kind, "incident": incident.to_dict()}
        values["incident_id"] = incident.id
        self.connection.execute(sa.insert(IncidentEvents).values(values))
        self.connection.execute(sa.update(Counters).where(Counters.name == _NAME).values(value=self._last))


def since(connection: sa.Connection, cursor: int, limit: int) -> tuple[IncidentEvent, ...]:
    """Return up to *limit* events after number *cursor*."""
    query = sa.select(*_SHOWN).where(IncidentEvents.seq > cursor).order_by(IncidentEvents.seq).limit(limit)
    return tuple(IncidentEvent(**row._asdict()) for row in connection.execute(query))


def of(connection: sa.Connection, id_: str, limit: int) -> tuple[IncidentEvent, ...]:
    """Return the last *limit* events of the incident *id_*, oldest first; those of before `expire` are gone."""
    query = sa.select(*_SHOWN).where(IncidentEvents.incident_id == id_).order_by(IncidentEvents.seq.desc()).limit(limit)
    return tuple(IncidentEvent(**row._asdict()) for row in connection.execute(query))[::-1]


def last(connection: sa.Connection) -> int:
    """Return the number of the latest event, 0 when there was none."""
    return connection.execute(sa.select(Counters.value).where(Counters.name == _NAME)).scalar_one_or_none() or 0


def expire(connection: sa.Connection, before: int) -> None:
    """Delete events from before *before* (ns)."""
    connection.execute(sa.delete(IncidentEvents).where(IncidentEvents.at < before))
