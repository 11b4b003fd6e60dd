"""The schema's revisions: bring a database forward, or say that it is not at the one this program needs."""

from __future__ import annotations

import fcntl
import functools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from offbeat.store.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from offbeat.store.engine import Database

_LOCK_KEY = 0x0FFBEA7


def config() -> Config:
    """Return the Alembic configuration; there is no file to find."""
    made = Config()
    made.set_main_option("script_location", "offbeat:migrations")
    return made


@functools.cache
def head() -> str:
    """Return the revision this program needs."""
    found = ScriptDirectory.from_config(config()).get_current_head()
    assert found is not None
    return found


def current(database: Database) -> str | None:
    """Return the revision *database* has, None when it is empty."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> None:
    """Bring *database* to the revision this program needs; others who try at the same time wait.

    Raises:
        SchemaError: It is of a later program.
    """
    with _alone(database):
        _refuse_unknown(current(database))
        made = config()
        with database.write() as connection:
            if not database.embedded:
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            made.attributes["connection"] = connection
            command.upgrade(made, "head")


def check(database: Database) -> None:
    """Make sure that *database* is at the revision this program needs.

    Raises:
        SchemaError: It is not; the message says what to do.
    """
    found = current(database)
    _refuse_unknown(found)
    if found != head():
        state = f"is at revision {found}" if found else "is empty"
        raise SchemaError(f"the database {state}, this program needs {head()}: run 'offbeat db upgrade'")


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


def _refuse_unknown(found: str | None) -> None:
    if found is not None and found not in _known():
        raise SchemaError(
            f"the database is at revision {found}, which this program does not know: it is of a later one"
        )


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    if not database.embedded:
        with database.engine.connect() as connection:
            connection.execute(sa.text("SET lock_timeout = 0"))
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_KEY)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK_KEY)))
                connection.invalidate()  # it carries settings of its own
        return
    path = database.engine.url.database
    if not path:
        yield
        return
    with Path(f"{path}.upgrade").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
