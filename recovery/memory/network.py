"""A keeper's place in the rosters it was given: whom it may speak with, who may speak with it, and who leads."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import calls, handshake, roster
from offbeat.recovery.memory.director import Leader
from offbeat.recovery.memory.frames import FrameError
from offbeat.recovery.memory.groups import GroupCoder
from offbeat.recovery.memory.hosts import Alone, Hosts
from offbeat.recovery.memory.peers import Peers
from offbeat.recovery.memory.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from offbeat.recovery.memory.calls import Handler
    from offbeat.recovery.memory.roster import Roster

log = logging.getLogger("offbeat.keeper")

SILENT_SECONDS = 600.0
"""After which a peer's connection that says nothing is closed."""


@dataclass
class _Known:
    roster: Roster
    peers: Peers
    leader: Leader


class Network:
    """The hosts that this keeper works with, by job; a job in no roster is this host's alone."""

    def __init__(self, host: str, directory: Path | None, handlers: Mapping[str, Handler]) -> None:
        """Be *host*; rosters are the `*.json` files of *directory*, `handlers` what peers may ask of us."""
        self._host, self._directory, self._handlers = host, directory, handlers
        self._known: dict[str, _Known] = {}
        self._read: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._alone = Alone(host, handlers)
        self._own = Leader(self._alone, None)

    def refresh(self) -> None:
        """Read rosters that are new or have changed; one that cannot be used is logged, and the last good one stays."""
        for path in sorted(self._directory.glob("*.json")) if self._directory else []:
            try:
                text = path.read_bytes()
                if self._read.get(path.name) == text:
                    continue
                self._read[path.name] = text
                self._take(roster.read(path))
            except (OSError, roster.RosterError) as error:
                log.error("a roster cannot be used: %s", error)  # noqa: TRY400 - the file is at fault, no stack helps

    def _take(self, found: Roster) -> None:
        if all(member.name != self._host for member in found.members):
            with self._lock:
                self._known.pop(found.job, None)
            log.info("job %s: this host is no longer in its roster", found.job)
            return
        peers = Peers(found, self._host, self._handlers)
        with self._lock:
            self._known[found.job] = _Known(found, peers, Leader(peers, GroupCoder(found, peers)))
        self._listen(found.member(self._host).address)

    def hosts(self, job: str) -> Hosts:
        """Return how the hosts of a job are reached."""
        with self._lock:
            known = self._known.get(job)
        return known.peers if known else self._alone

    def leader(self, job: str) -> Leader | None:
        """Return who decides for a job, None where that is not us."""
        with self._lock:
            known = self._known.get(job)
        if known is None:
            return self._own
        return known.leader if known.roster.lead() == self._host else None

    def roster(self, job: str) -> Roster | None:
        """Return the roster of a job."""
        with self._lock:
            known = self._known.get(job)
        return known.roster if known else None

    def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._server is not None:
            self._server.stop()
        with self._lock:
            for known in self._known.values():
                known.peers.close()

    def _listen(self, address: tuple[str, int]) -> None:
        if self._server is not None:
            if self._server.listener.getsockname()[1] != address[1]:
                log.error("the rosters have this host at two ports; the first one stays")
            return
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=64)
        self._server = Server(listener, self._serve)
        self._server.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            channel, job, generation = handshake.let_in(connection, self._key, timeout=SILENT_SECONDS)
            calls.answer(channel, self._for(job, generation), _failed)
        except FrameError as error:
            log.warning("a peer's connection was closed: %s", error)

    def _key(self, job: str, generation: int) -> bytes:
        found = self.roster(job)
        if found is None:
            raise LookupError(f"{self._host} is in no roster of job {job}")
        return handshake.generation_key(found.secret, job, generation)

    def _for(self, job: str, generation: int) -> dict[str, Handler]:
        """Return the orders a connection may give: for the job and the generation that its key was for."""

        def bound(handler: Handler) -> Callable[..., Any]:
            def checked(**fields: Any) -> Any:
                if fields.get("job") != job or fields.get("generation", generation) != generation:
                    raise PermissionError(f"this connection is for generation {generation} of job {job}")
                return handler(**fields)

            return checked

        return {name: bound(handler) for name, handler in self._handlers.items()}


def _failed(name: str, error: Exception) -> None:
    log.error("order %s failed", name, exc_info=error)
