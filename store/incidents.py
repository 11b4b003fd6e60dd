"""Incidents: findings with a life.

A finding is known by (job, attempt, finding id). While its incident lives, what is found changes that incident. After
the incident ended, the same finding opens a new one, which names the one before in `reopens`, if it was detected after
that end; else it is old news, or goes on though somebody resolved it, and changes no state.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from offbeat.model import Finding, IncidentState
from offbeat.store import audit, cursors, events, judgements, webhooks
from offbeat.store.errors import NotFoundError, StateError
from offbeat.store.plain import plain
from offbeat.store.rows import Accuracy, Feedback, Incident, IncidentEvent, Page
from offbeat.store.tables import Incidents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from offbeat.store.engine import Database

FINAL = frozenset({IncidentState.RECOVERED, IncidentState.RESOLVED})
"""States in which an incident is over."""

_MOVES = {
    IncidentState.OPEN: {IncidentState.ACKNOWLEDGED, IncidentState.RECOVERING, *FINAL},
    IncidentState.ACKNOWLEDGED: {IncidentState.RECOVERING, *FINAL},
    IncidentState.RECOVERING: {IncidentState.ACKNOWLEDGED, *FINAL},
    IncidentState.RECOVERED: set[IncidentState](),
    IncidentState.RESOLVED: set[IncidentState](),
}


class IncidentStore:
    """Incidents, their changes as a stream, and what people said of them."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def apply(self, finding: Finding, at: int) -> Incident | None:
        """Open, change or end the incident of *finding*, as of *at* (ns).

        Returns:
            The incident, if this changed it; the same finding again changes nothing.
        """
        body = plain(finding.to_dict())
        with self._database.write() as connection:
            log = events.Log(self._database, connection, at)
            known = self._latest(connection, finding)
            if known is None or (known.ended_at is not None and _detected(finding, at) > known.ended_at):
                incident = self._open(log, finding, body, known, at)
                if finding.ended_at is None:
                    return incident
            elif plain(known.finding.to_dict()) == body:
                return None
            else:
                found = Finding.from_dict(body, job=known.job, attempt=known.attempt)
                incident = replace(known, finding=found, detected_at=found.detected_at)
            if finding.ended_at is None or incident.state in FINAL:
                return self._write(log, incident, "changed", at)
            ended = IncidentState.RESOLVED
            if incident.state is IncidentState.RECOVERING:
                ended = IncidentState.RECOVERED
            incident = replace(incident, state=ended, ended_at=finding.ended_at, resolved_why="the fault ended")
            return self._write(log, incident, str(ended), at)

    def list(
        self,
        job: str | None = None,
        state: IncidentState | Collection[IncidentState] | None = None,
        class_: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Incident]:
        """Return incidents, the last opened first.

        Raises:
            CursorError: *cursor* is not one of this list's.
        """
        query = sa.select(Incidents).order_by(Incidents.opened_at.desc(), Incidents.id.desc()).limit(limit + 1)
        if job is not None:
            query = query.where(Incidents.job == job)
        if state is not None:
            states = [state] if isinstance(state, str) else state
            query = query.where(Incidents.state.in_([str(each) for each in states]))
        if class_ is not None:
            query = query.where(Incidents.fault == class_)
        if cursor is not None:
            opened_at, id_ = cursors.pair(cursor)
            query = query.where(sa.tuple_(Incidents.opened_at, Incidents.id) < sa.tuple_(opened_at, id_))
        with self._database.read() as connection:
            found = [_incident(row) for row in connection.execute(query)]
        items = tuple(found[:limit])
        return Page(items, cursors.of_pair(items[-1].opened_at, items[-1].id) if len(found) > limit else None)

    def get(self, id_: str) -> Incident | None:
        """Return the incident *id_*, None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(Incidents).where(Incidents.id == id_)).one_or_none()
        return None if row is None else _incident(row)

    def open_counts(self) -> dict[str, int]:
        """Return how many incidents each job has that are not over."""
        query = sa.select(Incidents.job, sa.func.count().label("open")).where(
            Incidents.state.not_in([str(state) for state in FINAL])
        )
        with self._database.read() as connection:
            return {row.job: row.open for row in connection.execute(query.group_by(Incidents.job))}

    def acknowledge(self, id_: str, who: str) -> Incident:
        """Note that *who* takes care of it.

        Raises:
            NotFoundError: There is no such incident.
            StateError: It is past that.
        """
        return self.move(id_, IncidentState.ACKNOWLEDGED, who)

    def resolve(self, id_: str, who: str, why: str = "") -> Incident:
        """Note that *who* says it is over; the same finding going on does not open it again.

        Raises:
            NotFoundError: There is no such incident.
        """
        return self.move(id_, IncidentState.RESOLVED, who, why)

    def move(self, id_: str, state: IncidentState, who: str, why: str = "") -> Incident:
        """Bring the incident *id_* into *state*; in it already, or over when it should end, it stays as it is.

        Raises:
            NotFoundError: There is no such incident.
            StateError: No way leads there from the state it is in.
        """
        at = self._clock()
        with self._database.write() as connection:
            log = events.Log(self._database, connection, at)
            incident = _incident(self._row(connection, id_))
            if incident.state is state or (state in FINAL and incident.state in FINAL):
                return incident
            if state not in _MOVES[incident.state]:
                raise StateError(f"incident {id_} is {incident.state}: it cannot become {state}")
            changes: dict[str, Any] = {"state": state}
            if state is IncidentState.ACKNOWLEDGED:
                changes |= {"acknowledged_by": who, "acknowledged_at": at}
            elif state in FINAL:
                changes |= {"ended_at": at, "resolved_by": who, "resolved_why": why}
            audit.note(connection, at, who, f"incident.{state}", {"incident": id_, "why": why})
            return self._write(log, replace(incident, **changes), str(state), at)

    def feedback(self, id_: str, right: bool, note: str, who: str) -> Feedback:
        """Note that *who* says whether the finding was right; of one incident the last word counts.

        Raises:
            NotFoundError: There is no such incident.
        """
        said = Feedback(id_, self._clock(), right, plain(note), who)
        with self._database.write() as connection:
            self._row(connection, id_)
            judgements.add(connection, said)
        return said

    def feedbacks(self, id_: str) -> tuple[Feedback, ...]:
        """Return what was said of the incident *id_*, oldest first."""
        with self._database.read() as connection:
            return judgements.of(connection, id_)

    def accuracy(self) -> tuple[Accuracy, ...]:
        """Return how often findings of each class were right, as far as people said so."""
        with self._database.read() as connection:
            return judgements.accuracy(connection)

    def history(self, id_: str, limit: int = 200) -> tuple[IncidentEvent, ...]:
        """Return the last *limit* changes of the incident *id_*, oldest first; `expire` forgets the oldest."""
        with self._database.read() as connection:
            return events.of(connection, id_, limit)

    def events_since(self, cursor: int, limit: int = 100) -> tuple[IncidentEvent, ...]:
        """Return changes after the one numbered *cursor*, oldest first; 0 is before the first."""
        with self._database.read() as connection:
            return events.since(connection, cursor, limit)

    def last_event(self) -> int:
        """Return the number of the latest change, 0 when there was none."""
        with self._database.read() as connection:
            return events.last(connection)

    def expire(self, before: int) -> None:
        """Forget changes and sent messages from before *before* (ns); incidents are kept."""
        with self._database.write() as connection:
            events.expire(connection, before)
            webhooks.expire(connection, before)

    def _row(self, connection: sa.Connection, id_: str) -> sa.Row[Any]:
        row = connection.execute(sa.select(Incidents).where(Incidents.id == id_).with_for_update()).one_or_none()
        if row is None:
            raise NotFoundError(f"no incident {id_!r}")
        return row

    def _latest(self, connection: sa.Connection, finding: Finding) -> Incident | None:
        query = (
            sa.select(Incidents)
            .where(
                Incidents.job == finding.job,
                Incidents.attempt == finding.attempt,
                Incidents.finding_id == finding.id,
            )
            .order_by(Incidents.round.desc())
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else _incident(row)

    def _open(
        self, log: events.Log, finding: Finding, body: dict[str, Any], before: Incident | None, at: int
    ) -> Incident:
        name = json.dumps([finding.job, finding.attempt, finding.id])
        short = hashlib.sha256(name.encode()).hexdigest()[:16]
        round_ = 0 if before is None else int(before.id.partition("-")[2] or 1)
        incident = Incident(
            id=short if before is None else f"{short}-{round_ + 1}",
            job=finding.job,
            attempt=finding.attempt,
            state=IncidentState.OPEN,
            revision=0,
            finding=Finding.from_dict(body, job=finding.job, attempt=finding.attempt),
            opened_at=at,
            updated_at=at,
            detected_at=finding.detected_at,
            reopens=None if before is None else before.id,
        )
        log.connection.execute(sa.insert(Incidents).values(**_values(incident), finding_id=finding.id, round=round_))
        return self._write(log, incident, "opened", at)

    def _write(self, log: events.Log, incident: Incident, kind: str, at: int) -> Incident:
        incident = replace(incident, revision=incident.revision + 1, updated_at=at)
        log.connection.execute(sa.update(Incidents).where(Incidents.id == incident.id).values(_values(incident)))
        log.add(kind, incident)
        if kind == "opened":
            webhooks.owe(log.connection, incident, "opened", at)
        elif kind in FINAL:
            webhooks.owe(log.connection, incident, "resolved", at)
        return incident


def _detected(finding: Finding, at: int) -> int:
    return at if finding.detected_at is None else finding.detected_at


def _values(incident: Incident) -> dict[str, Any]:
    finding = incident.finding
    return {field.name: getattr(incident, field.name) for field in fields(incident)} | {
        "state": str(incident.state),
        "fault": str(finding.fault),
        "severity": str(finding.severity),
        "finding": finding.to_dict(),
    }


def _incident(row: sa.Row[Any]) -> Incident:
    values = row._asdict()
    for name in ("finding_id", "round", "fault", "severity"):
        del values[name]
    values["state"] = IncidentState(row.state)
    values["finding"] = Finding.from_dict(row.finding, job=row.job, attempt=row.attempt)
    return Incident(**values)
