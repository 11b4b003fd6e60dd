"""Connections: settings, transactions, errors."""

import stat
import threading
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from offbeat.store import StoreError, UnavailableError
from offbeat.store.engine import LOCK_TIMEOUT, STATEMENT_TIMEOUT, Database
from offbeat.store.tables import Counters


def count(database):
    """Return how many counters there are."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(Counters)).scalar_one()


def test_connections_have_their_safety_settings(database):
    """SQLite keeps a write-ahead log, foreign keys and a private file; PostgreSQL gives up on locks and statements."""
    with database.read() as connection:
        if database.embedded:
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys")
            }
            assert settings == {"journal_mode": "wal", "foreign_keys": 1}
            assert stat.S_IMODE(Path(database.engine.url.database).stat().st_mode) == 0o600
        else:
            shown = [
                connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("lock_timeout", "statement_timeout")
            ]
            assert shown == [LOCK_TIMEOUT, STATEMENT_TIMEOUT]


def test_a_durable_write_waits_for_the_disk(database):
    """On SQLite a durable commit is synced (2 = FULL), a passing one only when the log is copied (1 = NORMAL)."""
    if not database.embedded:
        pytest.skip("PostgreSQL syncs every commit")
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.write(durable=durable) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level


def test_a_write_that_raises_leaves_nothing(database):
    """What a failed block wrote is undone."""

    def fail():
        with database.write() as connection:
            connection.execute(sa.insert(Counters).values(name="a", value=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert count(database) == 0


def test_writers_on_many_threads_take_turns(database):
    """Reading and then writing in one transaction never fails because another thread wrote in between."""
    with database.write() as connection:
        connection.execute(sa.insert(Counters).values(name="a", value=0))

    def add():
        for _ in range(20):
            with database.write(durable=False) as connection:
                query = sa.select(Counters.value).where(Counters.name == "a").with_for_update()
                value = connection.execute(query).scalar_one()
                connection.execute(sa.update(Counters).values(value=value + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(sa.select(Counters.value)).scalar_one() == 80


def test_errors_are_the_stores_own(database):
    """A statement the database refuses raises a store error that does not show what was in it."""
    with pytest.raises(StoreError) as caught, database.write() as connection:
        connection.execute(sa.insert(Counters).values(name="secret", value=None))
    assert "secret" not in "".join(traceback.format_exception(caught.value)).replace('name="secret"', "")


def test_a_database_that_does_not_answer_is_unavailable(tmp_path):
    """Neither an unreachable server nor an unreadable file looks like a bug."""
    unreachable = Database("postgresql://nobody@/none?host=/nonexistent")
    with pytest.raises(UnavailableError), unreachable.read():
        pass
    (tmp_path / "file.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError), Database(f"sqlite:///{tmp_path / 'file.db'}").read():
        pass


@pytest.mark.parametrize("url", ["mysql://root@host/db", "no url at all", "sqlite+nothing://x"])
def test_other_databases_are_refused(url):
    """A URL that cannot work is refused at once."""
    with pytest.raises(StoreError, match="database URL"):
        Database(url)
