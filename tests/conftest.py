"""Fixtures for tests that need a database."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from postgres import Server
from redis_server import RedisServer


@pytest.fixture(scope="session")
def postgresql_url():
    """Give the URL of a PostgreSQL server on which databases may be created, one a test worker."""
    given = os.environ.get("OFFBEAT_TEST_DATABASE_URL")
    if given:
        yield given
        return
    # Not pytest's directory: the way to it is closed to others, and a socket's path must be short.
    directory = Path(tempfile.mkdtemp(prefix="offbeat-pg-", dir="/tmp"))
    try:
        try:
            server = Server(directory)
        except (RuntimeError, OSError) as error:
            pytest.skip(f"no PostgreSQL: {error}")
        yield server.url
        server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis_server():
    """Give a Redis of the test's own."""
    # Not pytest's directory: a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="offbeat-redis-", dir="/tmp") as directory:
        try:
            server = RedisServer(Path(directory))
        except (RuntimeError, OSError) as error:
            pytest.skip(f"no Redis: {error}")
        yield server
        server.kill()


@contextmanager
def _database(server_url):
    name = f"offbeat_test_{uuid4().hex[:12]}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def database_url(request, tmp_path_factory):
    """Give the URL of an empty database, of each kind in turn, the same for all tests of a module."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'offbeat.db'}"
        return
    with _database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture
def empty_url(database_url, tmp_path, request):
    """Give the URL of an empty database of the test's own, of the same kind as `database_url`."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'own.db'}"
        return
    with _database(request.getfixturevalue("postgresql_url")) as url:
        yield url
