"""The keepers of a job's other hosts, reached over TCP with the key of a generation."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import calls, handshake
from offbeat.recovery.memory.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from offbeat.recovery.memory.calls import Handler
    from offbeat.recovery.memory.frames import Channel
    from offbeat.recovery.memory.roster import Roster

CALL_SECONDS = 120.0
"""For one message to be answered: comparing all checksums of a terabyte takes most of a minute."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
"""After eleven seconds a host that is gone is known to be: seconds idle, seconds between probes, probes."""
CONNECT_SECONDS = 3.0


class Peers:
    """Calls to the hosts of a roster, our own without a network. Connections are kept, one a thread at work."""

    def __init__(self, roster: Roster, host: str, handlers: Mapping[str, Handler]) -> None:
        """Be *host* of *roster*; *handlers* are our own keeper's."""
        self._roster, self._host, self._handlers = roster, host, handlers
        self._idle: dict[tuple[str, int], list[Channel]] = defaultdict(list)
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return all hosts of the job."""
        return [member.name for member in self._roster.members]

    def call(
        self, host: str, name: str, into: NDArray[np.uint8] | None = None, /, **fields: Any
    ) -> tuple[dict[str, Any], Any]:
        """Call the keeper of *host*; see `calls.call`.

        Raises:
            ConnectionError: It cannot be reached.
        """
        if host == self._host:
            found = self._handlers[name](**fields)
            return found if isinstance(found, tuple) else (found, b"")
        generation = fields.get("generation", 0)
        channel = self._take(host, generation)
        try:
            answer = calls.call(channel, name, into, **fields)
        except (FrameError, OSError) as error:
            if isinstance(error, PermissionError):
                self._give(host, generation, channel)
                raise
            channel.close()
            raise ConnectionError(f"keeper of {host}: {error}") from None
        except BaseException:
            self._give(host, generation, channel)
            raise
        self._give(host, generation, channel)
        return answer

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            for channels in self._idle.values():
                for channel in channels:
                    channel.close()
            self._idle.clear()

    def _take(self, host: str, generation: int) -> Channel:
        while True:
            with self._lock:
                channels = self._idle[host, generation]
                channel = channels.pop() if channels else None
            if channel is None:
                return self._connect(host, generation)
            if not _ended(channel.socket):
                return channel
            channel.close()

    def _give(self, host: str, generation: int, channel: Channel) -> None:
        with self._lock:
            for at, channels in self._idle.items():
                if at[0] == host and at[1] < generation:  # of a generation that is over
                    while channels:
                        channels.pop().close()
            self._idle[host, generation].append(channel)

    def _connect(self, host: str, generation: int) -> Channel:
        key = handshake.generation_key(self._roster.secret, self._roster.job, generation)
        try:
            connection = socket.create_connection(self._roster.member(host).address, CONNECT_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE.items():
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError as error:
            raise ConnectionError(f"keeper of {host} cannot be reached: {error}") from None
        try:
            return handshake.call_in(connection, key, self._roster.job, generation, timeout=CALL_SECONDS)
        except (FrameError, OSError) as error:
            connection.close()
            raise ConnectionError(f"keeper of {host}: {error}") from None


def _ended(connection: socket.socket) -> bool:
    """Tell whether the other side has closed a connection that waits for nothing."""
    timeout = connection.gettimeout()
    with contextlib.suppress(BlockingIOError):
        connection.setblocking(False)
        try:
            return connection.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True
        finally:
            connection.settimeout(timeout)
    return False
