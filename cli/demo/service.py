"""The service and the agents, started as a user starts them: the embedded default, one agent a host."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import httpx2

from offbeat.settings import ServiceSettings
from offbeat.store import Role
from offbeat.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from offbeat.cli.demo.hosts import Host
    from offbeat.cli.demo.processes import Process, Processes

READY_SECONDS = 60.0
"""How long the service may take to answer; on two busy cores its imports alone take several seconds."""
_LISTENS = re.compile(r"^Offbeat listens on (\S+)", re.MULTILINE)
_LOGIN = re.compile(r"^Dashboard: (\S+)", re.MULTILINE)
_OFFBEAT = (sys.executable, "-m", "offbeat.cli.main")


class ServiceError(Exception):
    """The service or an agent did not start; the message ends with what it said."""


class Service:
    """`offbeat up` on a data directory of its own, and an agent on each of *hosts*.

    Agents in namespaces have no route to the machine, so they use a Unix socket; the dashboard is on 127.0.0.1.
    """

    def __init__(self, hosts: Sequence[Host], directory: Path, processes: Processes) -> None:
        directory.mkdir(parents=True)
        self.url = self.login_url = ""
        self._hosts, self._directory, self._processes = hosts, directory, processes
        self._socket = directory / "service.sock"
        data = directory / "data"
        # Before the service runs, as an administrator does with `offbeat token create`.
        with open_store(ServiceSettings(data_dir=data)) as store:
            self.viewer_token = store.tokens.create(Role.VIEWER, note="the demo")[0]
            self._agent_tokens = [store.tokens.create(Role.AGENT, host=host.name)[0] for host in hosts]
        env = {
            "OFFBEAT_LISTEN": "127.0.0.1",
            "OFFBEAT_PORT": "0",
            "OFFBEAT_UNIX_SOCKET": str(self._socket),
            "OFFBEAT_DATA_DIR": str(data),
        }
        self._service = processes.start([*_OFFBEAT, "up"], directory / "service.log", env)
        self._agents: list[Process] = []

    def wait(self) -> None:
        """Wait until the service is ready and has printed where.

        Raises:
            ServiceError: It ended, or was not ready within `READY_SECONDS`.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._service.exit_code is None:
            said = self._service.log.read_text(encoding="utf-8", errors="replace")
            if (at := _LISTENS.search(said)) and (login := _LOGIN.search(said)) and _ready(at[1]):
                self.url, self.login_url = at[1], login[1]
                return
            time.sleep(0.1)
        raise ServiceError(f"the service did not come up:\n{self._service.tail()}")

    def start_agents(self) -> None:
        """Start the agent of each host, on that host."""
        for host, token in zip(self._hosts, self._agent_tokens, strict=True):
            env = {
                "OFFBEAT_HOST": host.name,
                "OFFBEAT_URL": f"unix://{self._socket}" if host.namespace else self.url,
                "OFFBEAT_TOKEN": token,
                "OFFBEAT_RING_DIR": str(host.ring_dir),
                "OFFBEAT_SPOOL_DIR": str(host.spool_dir),
            }
            log = self._directory / f"agent-{host.name}.log"
            self._agents.append(self._processes.start(host.inside([*_OFFBEAT, "agent"]), log, env))

    def check(self) -> None:
        """Make sure that the service and all agents still run.

        Raises:
            ServiceError: One has ended.
        """
        for process in (self._service, *self._agents):
            if process.exit_code is not None:
                raise ServiceError(f"{process.log.name} ended with exit code {process.exit_code}:\n{process.tail()}")


def _ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=2.0, trust_env=False).is_success
    except httpx2.HTTPError:
        return False  # not listening yet
