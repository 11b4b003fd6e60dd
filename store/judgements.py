"""What people said of incidents: whether the finding was right, and how often each class was."""

from __future__ import annotations

import sqlalchemy as sa

from offbeat.store import audit
from offbeat.store.rows import Accuracy, Feedback
from offbeat.store.tables import Feedbacks, Incidents


def add(connection: sa.Connection, said: Feedback) -> None:
    """Keep a judgement, and who gave it."""
    values = {"incident_id": said.incident, "at": said.at, "right": said.right, "note": said.note, "who": said.who}
    connection.execute(sa.insert(Feedbacks).values(values))
    audit.note(connection, said.at, said.who, "incident.feedback", {"incident": said.incident, "right": said.right})


def of(connection: sa.Connection, id_: str) -> tuple[Feedback, ...]:
    """Return what was said of the incident *id_*, oldest first."""
    query = sa.select(Feedbacks).where(Feedbacks.incident_id == id_).order_by(Feedbacks.id)
    return tuple(Feedback(row.incident_id, row.at, row.right, row.note, row.who) for row in connection.execute(query))


def accuracy(connection: sa.Connection) -> tuple[Accuracy, ...]:
    """Return each class that was judged; of an incident judged several times the last word counts."""
    last = sa.select(sa.func.max(Feedbacks.id)).group_by(Feedbacks.incident_id)
    right = sa.func.sum(sa.case((Feedbacks.right, 1), else_=0))
    query = (
        sa.select(Incidents.fault, right.label("right"), sa.func.count().label("judged"))
        .join(Incidents, Incidents.id == Feedbacks.incident_id)
        .where(Feedbacks.id.in_(last))
        .group_by(Incidents.fault)
        .order_by(Incidents.fault)
    )
    return tuple(Accuracy(row.fault, row.right, row.judged - row.right) for row in connection.execute(query))
