"""Sockets and the web server: who listens where, and how it ends."""

from __future__ import annotations

import errno
import signal
import socket
import stat
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from fastapi import FastAPI

BACKLOG = 1024
"""Connections the kernel holds until they are taken; agents all come at once when a service restarts."""
DRAIN_SECONDS = 10
"""How long requests under way may take once the service is asked to end; then they are cut."""
KEEP_ALIVE_SECONDS = 30
"""How long an idle connection stays; longer than an agent's pause between batches, which else connects each time."""


class Server(uvicorn.Server):
    """uvicorn, ending in order: streams first, then requests; a signal asks for the end and is not raised again."""

    def __init__(self, app: FastAPI) -> None:
        """Prepare to serve *app*; logs are the caller's."""
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                backlog=BACKLOG,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, which would never end by themselves, then wait for the rest."""
        self._app.state.offbeat.stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the base class fixes the arguments
        """Ask for the end; a second interrupt does not wait for requests."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *host* and *port* (0: any free one).

    Raises:
        OSError: The address is taken or not this machine's.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Return a socket that listens at *path*, in place of one that a killed process left there.

    Anybody on the machine may connect: who may do what is told by tokens, as on TCP.

    Raises:
        OSError: Something else is there, somebody listens there, or the directory cannot be written.
    """
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another process listens there", str(path))
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a TCP listener; a wildcard address is reached over loopback."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
