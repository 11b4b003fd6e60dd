"""The database connection: SQLite as the embedded default, PostgreSQL by URL; the same two verbs on both."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from offbeat.store.errors import StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_SECONDS = 10.0
"""How long a writer waits for another process on the SQLite file; without it two processes fail each other at once."""
LOCK_TIMEOUT = "5s"
"""How long PostgreSQL waits for a lock; without it one stuck transaction stops every request behind it."""
STATEMENT_TIMEOUT = "30s"
"""How long PostgreSQL works on one statement; without it a lost plan holds a connection for ever."""


class Database:
    """Gives out connections for reading and for writing."""

    def __init__(self, url: str) -> None:
        """Prepare connections to *url*; the first use connects.

        Raises:
            StoreError: The URL is neither SQLite's nor PostgreSQL's.
        """
        try:
            # postgres:// is what many tools write and SQLAlchemy refuses.
            parsed = sa.make_url(re.sub(r"^postgres://", "postgresql://", url))
        except sa.exc.ArgumentError as error:
            raise StoreError(f"database URL: {error}") from None
        self.embedded = parsed.drivername in {"sqlite", "sqlite+pysqlite"}
        # SQLite has one writer at a time and polls for its turn; queueing here is fair and immediate.
        self._writer = threading.RLock() if self.embedded else None
        if self.embedded:
            self.engine = _sqlite(parsed)
        elif parsed.drivername in {"postgresql", "postgresql+psycopg"}:
            self.engine = _postgresql(parsed)
        else:
            raise StoreError(f"database URL {parsed.render_as_string()} is neither sqlite:// nor postgresql://")
        self._write_engine = self.engine.execution_options(offbeat_begin="IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection for reading.

        Raises:
            UnavailableError: The database does not answer.
        """
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """Give a connection in a transaction that commits when the block ends, or is undone when it raises.

        Args:
            durable: The commit survives a power cut. Without it a power cut (not a kill) may undo the last commits of
                an SQLite file, which is right for what is written often and is known again soon.

        Raises:
            UnavailableError: The database does not answer.
        """
        with _translated(), self._turn(), self._write_engine.connect() as connection:
            if self.embedded:
                # Outside a transaction, where alone it has an effect; connections of the pool keep what was set.
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            with connection.begin():
                yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._writer is None:
            yield
        else:
            with self._writer:
                yield

    def insert(self, table: Any) -> Any:
        """Return an INSERT for *table* that knows ON CONFLICT in this database's dialect."""
        return sqlite.insert(table) if self.embedded else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        passing = isinstance(error, (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError))
        first = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        # Not `from error`: PostgreSQL's details quote the row, which may hold a secret, and tracebacks are logged.
        raise (UnavailableError if passing else StoreError)(f"database: {first}") from None


# hide_parameters, below: what a failed statement carried, such as a webhook's secret, is no business of any log.


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database:
        # Created here for its mode: it holds webhook secrets, and the umask is somebody else's choice.
        Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # isolation_level None: sqlite3 begins no transactions of its own accord; _begin does.
    connect_args = {"timeout": BUSY_SECONDS, "isolation_level": None}
    engine = sa.create_engine(url, hide_parameters=True, connect_args=connect_args)

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A write that began as a read fails at once when another came between, however long the busy timeout is.
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('offbeat_begin', 'DEFERRED')}")

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    connect_args = {
        "options": f"-c lock_timeout={LOCK_TIMEOUT} -c statement_timeout={STATEMENT_TIMEOUT}",
        "application_name": "offbeat",
        "connect_timeout": 10,
    }
    return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=connect_args)
