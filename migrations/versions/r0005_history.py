"""The history of one incident. A running service of the version before goes on without the new column."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = {"sqlite": "json_extract(incident, '$.id')", "postgresql": "incident ->> 'id'"}


def upgrade() -> None:
    """Let changes be found by their incident."""
    op.add_column("incident_events", sa.Column("incident_id", sa.String(length=64), nullable=True))
    op.execute(sa.text(f"UPDATE incident_events SET incident_id = {_ID[op.get_bind().dialect.name]}"))  # noqa: S608 - one of two constants
    op.create_index("ix_incident_events_incident_id_seq", "incident_events", ["incident_id", "seq"])
