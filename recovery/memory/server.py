"""A listening socket with a thread for each connection, of which there are only so many."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 256
"""At once; further ones are closed. Without a bound whoever can connect can take all threads."""


class Server:
    """Accept connections and hand each to a thread, until stopped."""

    def __init__(self, listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        """Serve what *listener*, bound and listening, accepts; *handle* may return or raise OSError at any time."""
        self.listener = listener
        self._handle = handle
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, name="accept", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and all connections; their threads end by themselves."""
        with self._lock:
            self._stopping = True
            found = [self.listener, *self._open]
        for each in found:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                if self._stopping:
                    return
                continue
            with self._lock:
                full = self._stopping or len(self._open) >= CONNECTIONS
                if not full:
                    self._open.add(connection)
            if full:
                connection.close()
            else:
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._handle(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
