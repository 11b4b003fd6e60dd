"""A real service for tests of the API: uvicorn on a loopback port, a store on disk, no analyzer."""

import shutil
import socket
import threading

import httpx2
import pytest
import structlog
from support import wait_until

from offbeat.api.app import create_app
from offbeat.api.serving import Server, listen_tcp, url_of
from offbeat.settings import ServiceSettings
from offbeat.store import InProcessBus, Role, open_store


@pytest.fixture(autouse=True, scope="session")
def _short_tracebacks():
    """Log without the values of locals, which take seconds to print."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])
    yield
    structlog.reset_defaults()


class Running:
    """A service that answers at `url`, with a token of each role."""

    def __init__(self, directory, **settings):
        self.settings = ServiceSettings(data_dir=directory, **settings)
        self.store = open_store(self.settings)
        self.bus = InProcessBus()
        self.alive = True
        self.app = create_app(self.store, self.bus, self.settings, analyzer_alive=lambda: self.alive)
        self.state = self.app.state.offbeat
        self.server = Server(self.app)
        self._listener = listen_tcp("127.0.0.1", 0)
        self.url = url_of(self._listener)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        wait_until(lambda: self.server.started)
        self._tokens = {role: self.token(role) for role in ("viewer", "operator", "admin")}

    def token(self, role, host=None):
        """Return a new token."""
        return self.store.tokens.create(Role(role), host=host)[0]

    def client(self, role=None, **kwargs):
        """Return a client with a token of *role*."""
        headers = {"Authorization": f"Bearer {self._tokens[role]}"} if role else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False, **kwargs)

    def agent(self, host):
        """Return a client with a token bound to *host*."""
        headers = {"Authorization": f"Bearer {self.token('agent', host)}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def raw(self):
        """Return a connected socket, for what no client library would send."""
        return socket.create_connection((self.url.split("/")[2].split(":")[0], int(self.url.rpartition(":")[2])), 20)

    def stop(self):
        """End it in order."""
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.bus.close()
        self.store.close()


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory):
    """Give a data directory with an empty database, to be copied: migrating one takes longer than most tests."""
    directory = tmp_path_factory.mktemp("migrated")
    open_store(ServiceSettings(data_dir=directory)).close()
    return directory


@pytest.fixture
def service(tmp_path, _migrated):
    """Give a running service."""
    shutil.copytree(_migrated, tmp_path / "data")
    running = Running(tmp_path / "data")
    yield running
    running.stop()


@pytest.fixture
def viewer(service):
    """Give a client that may read."""
    with service.client("viewer") as client:
        yield client


@pytest.fixture
def operator(service):
    """Give a client that may act on incidents."""
    with service.client("operator") as client:
        yield client


@pytest.fixture
def admin(service):
    """Give a client that may do everything."""
    with service.client("admin") as client:
        yield client
