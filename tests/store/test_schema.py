"""Migrations lead to what the models say."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from offbeat.store import SchemaError, schema
from offbeat.store.engine import Database
from offbeat.store.tables import Base


def test_models_and_migrations_agree(migrated):
    """A database made by the migrations lacks nothing that the models have, and has nothing else."""
    # SQLite knows no identity columns, which Alembic takes for a difference of defaults.
    options = {"compare_type": True, "compare_server_default": not migrated.embedded}
    with migrated.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_again_changes_nothing(migrated):
    """A database at today's revision passes the check and stays as it is."""
    schema.upgrade(migrated)
    schema.check(migrated)
    assert schema.current(migrated) == schema.head()


def test_a_database_of_a_later_program_is_refused(migrated):
    """An unknown revision is neither used nor touched, and the message says why."""
    with migrated.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'later'"))
    try:
        for attempt in (schema.check, schema.upgrade):
            with pytest.raises(SchemaError, match="later one"):
                attempt(migrated)
    finally:
        with migrated.write() as connection:
            connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{schema.head()}'"))


def test_an_empty_database_is_named_and_several_may_upgrade_it_at_once(empty_url):
    """The check says what to run; four processes' worth of upgrades at the same time all succeed."""
    databases = [Database(empty_url) for _ in range(4)]
    with pytest.raises(SchemaError, match=r"is empty.*offbeat db upgrade"):
        schema.check(databases[0])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(schema.upgrade, databases))
    schema.check(databases[0])
    for database in databases:
        database.close()
