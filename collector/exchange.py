"""Asking another program on this machine one thing, without waiting for it: one request, one bounded answer."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ANSWER = 16 << 20
"""Longest answer taken; without a bound a program gone mad fills the agent's memory."""
_READ = 1 << 16
_READS = 64
"""Reads at one poll: what is not there yet waits for the next, so that the agent's other sources get their turn."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a program listens: a numeric address and a port, or the path of a Unix socket."""

    host: str
    port: int = 0

    @classmethod
    def parse(cls, text: str, port: int = 0) -> Self:
        """Read `127.0.0.1:9400`, `[::1]:9400`, `localhost`, or `/path/of/socket`.

        Args:
            text: The address. Names other than `localhost` are refused: asking a name server may take seconds.
            port: Taken where the text has none.

        Raises:
            ValueError: It is none of these.
        """
        if text.startswith("/"):
            return cls(text)
        host, colon, number = text.rpartition(":")
        if text.endswith("]") or not colon or (":" in host and not host.startswith("[")):
            host, number = text, str(port)
        host = "127.0.0.1" if host == "localhost" else host.strip("[]")
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError, ValueError):
                socket.inet_pton(family, host)
                if number.isascii() and number.isdigit() and 0 < int(number[:6]) < 1 << 16:
                    return cls(host, int(number))
        raise ValueError(f"{text!r}: an address like 127.0.0.1:9400, localhost:9400 or /path/of/socket is needed")

    @property
    def family(self) -> int:
        """The family of its sockets."""
        if self.host.startswith("/"):
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


class Exchange:
    """One request under way; call `poll` now and then until it gives the answer."""

    def __init__(
        self,
        address: Address,
        request: bytes,
        *,
        seconds: float,
        limit: int = MAX_ANSWER,
        complete: Callable[[bytes | bytearray], bool] = lambda _answer: False,
    ) -> None:
        """Begin to connect.

        Args:
            address: Where to.
            request: What to say.
            seconds: How long all of it may take.
            limit: Most bytes of the answer.
            complete: Whether the answer so far is whole; else it is when the other side closes.

        Raises:
            OSError: It cannot be connected to.
        """
        self._request = memoryview(request)
        self._deadline = time.monotonic() + seconds
        self._limit = limit
        self._complete = complete
        self._answer = bytearray()
        self._socket = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        where = address.host if address.family == socket.AF_UNIX else (address.host, address.port)
        code = self._socket.connect_ex(where)
        if code not in {0, errno.EINPROGRESS}:
            self.close()
            raise OSError(code, f"{address.host}:{address.port}: {errno.errorcode.get(code, code)}")
        self._peer: int | None = None
        if address.family == socket.AF_UNIX:
            credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # pid, uid, gid
            self._peer = int.from_bytes(credentials[:4], sys.byteorder, signed=True)

    def poll(self) -> bytes | None:
        """Go on as far as that is possible at once; return the answer if it is whole.

        Raises:
            OSError: The other side refused, broke off, took too long or said too much. The exchange is over.
        """
        try:
            whole = self._advance()
            if not whole and time.monotonic() > self._deadline:
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
        except OSError:
            self.close()
            raise
        if not whole:
            return None
        self.close()
        return bytes(self._answer)

    @property
    def peer(self) -> int | None:
        """The process at the other end of a Unix socket, None where the kernel does not say."""
        return self._peer

    def take(self) -> bytes:
        """Return what has come so far and drop it: for an answer that has no end."""
        data, self._answer = bytes(self._answer), bytearray()
        return data

    def close(self) -> None:
        """Give up."""
        self._socket.close()

    def _advance(self) -> bool:
        try:
            while self._request:
                self._request = self._request[self._socket.send(self._request) :]
            for _ in range(_READS):
                data = self._socket.recv(_READ)
                self._answer += data
                if len(self._answer) > self._limit:
                    raise OSError(errno.EMSGSIZE, f"an answer of more than {self._limit} bytes")
                if not data or self._complete(self._answer):
                    return True
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.EAGAIN}:  # still connecting
                raise
        return False


def http_request(method: str, path: str, host: str) -> bytes:
    """Return a request after whose answer the server closes the connection.

    Raises:
        ValueError: The path or the host would end the line.
    """
    if any(ord(character) <= 32 or ord(character) > 126 for character in path + host):
        raise ValueError(f"{path!r} at {host!r}: no spaces or control characters in a URL")
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n{length}\r\n".encode("ascii")


def http_body(answer: bytes) -> bytes:
    """Return the body of a server's whole answer.

    Raises:
        OSError: It is no answer of HTTP, is cut off, or says that something is wrong.
    """
    try:
        response = http.client.HTTPResponse(_Answer(answer))  # type: ignore[arg-type] # all it needs is makefile
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise OSError(errno.EPROTO, f"no answer of HTTP: {type(error).__name__}: {error}"[:200]) from None
    if response.status != http.HTTPStatus.OK:
        raise OSError(errno.EPROTO, f"HTTP status {response.status}")
    return body


class _Answer:
    """Looks like a socket to a parser that reads one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
