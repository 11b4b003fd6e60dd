"""Fixtures for tests of the store."""

import pytest

from offbeat.store import Store, schema
from offbeat.store.engine import Database
from offbeat.store.tables import Base


class Clock:
    """A clock that stands until it is told to move."""

    def __init__(self):
        """Start some time in 2027, ns."""
        self.now = 1_800_000_000_000_000_000

    def __call__(self):
        """Return the time, ns."""
        return self.now

    def tick(self, seconds):
        """Move on."""
        self.now += int(seconds * 1e9)


@pytest.fixture
def clock():
    """Give a clock that the store under test uses."""
    return Clock()


@pytest.fixture(scope="module")
def migrated(database_url):
    """Give a database at today's revision, of each kind in turn."""
    database = Database(database_url)
    schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
def database(migrated):
    """Give an empty database at today's revision."""
    with migrated.write() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return migrated


@pytest.fixture
def store(database, clock, tmp_path):
    """Give an empty store."""
    made = Store(database, tmp_path / "data", b"k" * 32, clock)
    yield made
    made.telemetry.close()
