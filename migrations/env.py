"""What Alembic runs: revisions are applied on the connection that `offbeat.store.schema` hands over."""

from __future__ import annotations

from alembic import context

from offbeat.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place; this copies it
)
with context.begin_transaction():
    context.run_migrations()
