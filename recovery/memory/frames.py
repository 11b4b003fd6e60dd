"""Messages over a socket: a JSON head and a payload, both of bounded length, and a code that proves who sent them.

    lengths  u32 head, u32 payload
    head     JSON, an object
    payload  bytes
    code     HMAC-SHA256 of the message's number, lengths, head and payload; only where a key was agreed on

Numbers run from 0 in each direction: a message that is repeated, left out or moved is as false as a changed one.
"""

from __future__ import annotations

import hmac
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import socket

    from numpy.typing import NDArray

Raw = bytes | memoryview

MAX_HEAD = 32 << 20
"""Bytes; manifests are the longest heads, 6 a MiB of state. Without a bound a peer makes us allocate without end."""
MAX_PAYLOAD = 16 << 20
"""Bytes; a payload is one chunk."""
_LENGTHS = struct.Struct("<II")
_NUMBER = struct.Struct("<Q")
_CODE_BYTES = 32


class FrameError(Exception):
    """The other side broke the rules of the wire, or is not who it must be; the connection is of no more use."""


class ClosedError(FrameError):
    """The other side closed the connection, between two messages or within one."""


class Channel:
    """One connection. It may be used by one thread at a time."""

    def __init__(self, connection: socket.socket, *, max_head: int = MAX_HEAD, max_payload: int = MAX_PAYLOAD) -> None:
        """Speak over *connection*; nothing is proven until `secure`."""
        self.socket = connection
        self.max_head, self.max_payload = max_head, max_payload
        self._send_key = self._receive_key = b""
        self._sent = self._received = 0

    def secure(self, send_key: bytes, receive_key: bytes) -> None:
        """From now on prove every message, and believe only those that are proven."""
        self._send_key, self._receive_key = send_key, receive_key

    def send(self, head: dict[str, Any], payload: Raw = b"") -> None:
        """Send one message.

        Raises:
            OSError: The connection is broken.
            ValueError: It is longer than a message may be.
        """
        text, body = json.dumps(head, separators=(",", ":")).encode(), memoryview(payload).cast("B")
        if len(text) > self.max_head or body.nbytes > self.max_payload:
            raise ValueError(f"a message of {len(text)} + {body.nbytes} bytes")
        lengths = _LENGTHS.pack(len(text), body.nbytes)
        parts = [memoryview(lengths), memoryview(text), body]
        if self._send_key:
            parts.append(memoryview(_code(self._send_key, self._sent, lengths, text, body)))
        self._sent += 1
        while parts:
            done = self.socket.sendmsg(parts)
            while parts and done >= parts[0].nbytes:
                done -= parts.pop(0).nbytes
            if parts:
                parts[0] = parts[0][done:]

    def receive(self, into: NDArray[np.uint8] | None = None) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        """Receive one message.

        Args:
            into: Where the payload goes; without it, or when it is too small, into a buffer of its own.

        Returns:
            The head and the payload.

        Raises:
            FrameError: It is too long, no message, or not proven.
            OSError: The connection is broken, or timed out.
        """
        lengths = self._exactly(np.empty(_LENGTHS.size, np.uint8)).tobytes()
        head_bytes, payload_bytes = _LENGTHS.unpack(lengths)
        if head_bytes > self.max_head or payload_bytes > self.max_payload:
            raise FrameError(f"a message of {head_bytes} + {payload_bytes} bytes")
        text = self._exactly(np.empty(head_bytes, np.uint8)).tobytes()
        fits = into is not None and into.nbytes >= payload_bytes
        body = self._exactly(into[:payload_bytes] if into is not None and fits else np.empty(payload_bytes, np.uint8))
        if self._receive_key:
            code = self._exactly(np.empty(_CODE_BYTES, np.uint8)).tobytes()
            if not hmac.compare_digest(code, _code(self._receive_key, self._received, lengths, text, body.data)):
                raise FrameError("a message is not from whom it should be")
        self._received += 1
        try:
            head = json.loads(text)
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict):
            raise FrameError("a message without a head")
        return head, body

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _exactly(self, target: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rest = target.data
        while rest.nbytes:
            count = self.socket.recv_into(rest)
            if not count:
                raise ClosedError("the other side closed the connection")
            rest = rest[count:]
        return target


def _code(key: bytes, number: int, lengths: bytes, text: bytes, body: Raw) -> bytes:
    mac = hmac.new(key, _NUMBER.pack(number), "sha256")
    mac.update(lengths)
    mac.update(text)
    mac.update(body)
    return mac.digest()
