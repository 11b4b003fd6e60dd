"""Netlink, as far as the agent needs it: dumps of sockets and addresses, read message by message.

Layouts: linux/netlink.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCK_DIAG = 4
"""Protocol number of socket diagnostics (NETLINK_SOCK_DIAG)."""
ROUTE = 0
"""Protocol number of addresses and links (NETLINK_ROUTE)."""

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_ERROR, _DONE = 2, 3
_REQUEST = 0x1  # NLM_F_REQUEST
_DUMP = 0x301  # the same with NLM_F_ROOT | NLM_F_MATCH
_TYPE_MASK = 0x3FFF  # the upper two bits of an attribute's type are flags
_RECEIVE = 1 << 18
_TIMEOUT_SECONDS = 2.0
"""Longest wait for the kernel's answer; without it a lost message stops the agent."""


class NetlinkError(OSError):
    """The kernel refused a request, or answered what cannot be read."""


def messages(buffer: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of each message in *buffer*; start and end bound its payload.

    Raises:
        NetlinkError: A message's length does not fit the buffer.
    """
    at, size = 0, len(buffer)
    while at + _HEADER.size <= size:
        length, kind, _, _, _ = _HEADER.unpack_from(buffer, at)
        if length < _HEADER.size or at + length > size:
            raise NetlinkError(f"message of {length} bytes in a buffer of {size - at}")
        yield kind, at + _HEADER.size, at + length
        at += (length + 3) & ~3


def attributes(buffer: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of each attribute in ``buffer[start:end]``; ends early at one that does not fit."""
    at = start
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(buffer, at)
        if length < _ATTRIBUTE.size or at + length > end:
            return
        yield kind & _TYPE_MASK, at + _ATTRIBUTE.size, at + length
        at += (length + 3) & ~3


class Netlink:
    """A netlink socket of one protocol that answers requests."""

    def __init__(self, protocol: int) -> None:
        """Open the socket.

        Raises:
            OSError: The kernel has no such protocol, or does not let us.
        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def dump(self, kind: int, body: bytes) -> Iterator[tuple[bytes, int, int]]:
        """Ask for all objects of message type *kind*; yield (buffer, start, end) of each payload.

        Raises:
            OSError: The kernel refused, or did not answer in time.
        """
        self._send(kind, _DUMP, body)
        while True:
            for found, buffer, start, end in self._receive():
                if found == _DONE:
                    return
                _check(found, kind, buffer, start, end)
                yield buffer, start, end

    def get(self, kind: int, body: bytes) -> tuple[bytes, int, int]:
        """Ask for one object of message type *kind*; return (buffer, start, end) of its payload.

        Raises:
            NetlinkError: There is no such object, or the kernel refused.
            OSError: The kernel did not answer in time.
        """
        self._send(kind, _REQUEST, body)
        for found, buffer, start, end in self._receive():
            _check(found, kind, buffer, start, end)
            return buffer, start, end
        raise NetlinkError(0, f"netlink request of type {kind}: empty answer")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)

    def _receive(self) -> list[tuple[int, bytes, int, int]]:
        """Return the messages of the next packet that answers our last request."""
        while True:
            buffer = self._socket.recv(_RECEIVE)
            # Others are the rest of a dump that was given up.
            if len(buffer) >= _HEADER.size and _HEADER.unpack_from(buffer)[3] == self._sequence:
                return [(kind, buffer, start, end) for kind, start, end in messages(buffer)]


def _check(found: int, kind: int, buffer: bytes, start: int, end: int) -> None:
    if found == _ERROR:
        code = struct.unpack_from("=i", buffer, start)[0] if end - start >= 4 else 0
        raise NetlinkError(-code, f"netlink request of type {kind}: {os.strerror(-code)}")
