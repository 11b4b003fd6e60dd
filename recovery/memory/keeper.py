"""The keeper: a process of its own that owns the memory, so that what ends a trainer does not end what it saved."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from offbeat.recovery.memory import calls
from offbeat.recovery.memory.budget import Budget
from offbeat.recovery.memory.desk import SOCKET, Desk
from offbeat.recovery.memory.director import Beginning, UndecidedError
from offbeat.recovery.memory.frames import Channel, FrameError
from offbeat.recovery.memory.job import AbsentError, StaleError
from offbeat.recovery.memory.network import Network
from offbeat.recovery.memory.orders import Orders
from offbeat.recovery.memory.pace import Pace
from offbeat.recovery.memory.parity import Parity
from offbeat.recovery.memory.server import Server
from offbeat.recovery.memory.sums import Sums
from offbeat.recovery.memory.vault import Vault, VaultError

if TYPE_CHECKING:
    from pathlib import Path

    from offbeat.recovery.memory.hosts import Hosts

log = logging.getLogger("offbeat.keeper")

MAX_CALL = 1 << 20
"""Bytes of a trainer's message; none needs more."""
FOLLOW_SECONDS = 5.0
"""How long after our ranks have sealed a step the other hosts are asked whether theirs have, too."""
ROSTER_SECONDS = 1.0
"""How often rosters are looked at: a spare that is given a host's ranks has to notice."""
SWEEP_SECONDS = 60.0
"""How often jobs that nobody wants any more are looked for."""


class Keeper:
    """One keeper of one host. `close` leaves everything in memory for the next one."""

    def __init__(
        self,
        directory: Path,
        host: str,
        *,
        memory: int,
        slots: int = 3,
        commit_seconds: float = 0.2,
        keep_hours: float = 72.0,
        rosters: Path | None = None,
        rate: float = 0.0,
    ) -> None:
        """Take *directory* and listen on the socket in it.

        Args:
            directory: On a tmpfs.
            host: Our name.
            memory: Bytes that all files together may take.
            slots: Slots a rank.
            commit_seconds: How long after a commit the next may come.
            keep_hours: Age at which the memory of a job without trainers is given back.
            rosters: Directory of the rosters of jobs that run on several hosts.
            rate: Bytes a second that coding may send from here; 0 is without bound.

        Raises:
            VaultError: The directory cannot be used.
        """
        self.host, self._uid = host, os.getuid()
        self._commit_seconds, self._keep_hours = commit_seconds, keep_hours
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._jobs: dict[str, float] = {}
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.vault = Vault(directory, Budget(memory, directory), slots)
        orders = Orders(self.vault, self._uid)
        sums = Sums(self.vault, self._hosts, Pace(rate))
        parity = Parity(self.vault, self._hosts)
        self.network = Network(host, rosters, {**orders.handlers(), **sums.handlers(), **parity.handlers()})
        self._desk = Desk(self.vault, host, self._uid, self, self._parity_share)
        self._local = Server(_listen(directory / SOCKET), self._serve_local)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._advance, self._look_after)]

    def start(self) -> None:
        """Begin to serve."""
        self.network.refresh()
        for thread in self._threads:
            thread.start()
        self._local.start()

    def close(self) -> None:
        """Stop; everything stays in memory."""
        self._stopping.set()
        self._news.set()
        self._local.stop()
        self.network.close()
        for thread in self._threads:
            thread.join(5)
        self.vault.close()

    # The director's part

    def begin(self, job: str, world: int) -> Beginning:
        """Decide for a start of *job*; see `Director`."""
        self.network.refresh()
        leader, found = self.network.leader(job), self.network.roster(job)
        if leader is None or (found is not None and found.world != world):
            raise ValueError(f"job {job}: the roster does not have rank 0 of {world} ranks on {self.host}")
        return leader.begin(job, world)

    def _hosts(self, job: str) -> Hosts:
        return self.network.hosts(job)

    def _parity_share(self, job: str) -> float:
        found = self.network.roster(job)
        return found.m / found.k if found else 0.0

    def sealed(self, job: str) -> None:
        """Look soon whether all ranks have sealed a newer epoch."""
        with self._lock:
            self._jobs[job] = time.monotonic() + FOLLOW_SECONDS
        self._news.set()

    def _advance(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                now = time.monotonic()
                self._jobs = {job: until for job, until in self._jobs.items() if until > now}
                jobs = list(self._jobs)
            if not jobs:
                self._news.wait()
                self._news.clear()
            for job in jobs:
                self._commit(job)
            self._stopping.wait(self._commit_seconds)  # other hosts' ranks seal a little later than ours

    def _commit(self, job: str) -> None:
        leader = self.network.leader(job)
        if leader is None:
            return
        try:
            leader.advance(job, self.vault.job(job).state.generation)
        except (UndecidedError, AbsentError, StaleError) as error:
            log.info("job %s: nothing committed: %s", job, error)
        except Exception:
            log.exception("job %s: nothing committed", job)

    # Serving

    def _serve_local(self, connection: socket.socket) -> None:
        channel = Channel(connection, max_head=MAX_CALL, max_payload=0)
        try:
            self._desk.admit(connection)
            calls.answer(channel, self._desk.handlers(), _failed)
        except (FrameError, PermissionError) as error:
            log.warning("a local connection was closed: %s", error)

    def _look_after(self) -> None:
        swept = time.monotonic()
        while not self._stopping.wait(ROSTER_SECONDS):
            self.network.refresh()
            if time.monotonic() - swept < SWEEP_SECONDS:
                continue
            swept = time.monotonic()
            for name in self.vault.names():
                with contextlib.suppress(AbsentError):
                    if self.vault.job(name).idle_seconds() > self._keep_hours * 3600:
                        log.info("job %s: nobody came for %s hours, its memory is given back", name, self._keep_hours)
                        self.vault.forget(name)


def _failed(name: str, error: Exception) -> None:
    log.error("call %s failed", name, exc_info=error)


def _listen(path: Path) -> socket.socket:
    """Listen on a socket that only our user can reach; the vault's lock says that no other keeper does."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    path.unlink(missing_ok=True)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise VaultError(f"cannot listen on {path}: {error}") from None
    return listener
