"""Two keepers prove to one another that they hold the key of a generation, and agree on keys for one connection.

    client -> server   job, generation, nonce
    server -> client   nonce, proof over both
    client -> server   proof over both

The key of a generation is derived from the job's secret: who was given the key of an older generation cannot speak for
a newer one. What is sent is proven, not hidden: state travels in the clear.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory.frames import Channel, FrameError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

NONCE_BYTES = 32
HELLO_BYTES = 1024
"""Bytes of a message before anything is proven."""
HELLO_SECONDS = 5.0
"""Without it whoever opens a connection and says nothing keeps a thread."""


def generation_key(secret: bytes, job: str, generation: int) -> bytes:
    """Return the key of one generation of a job."""
    return hmac.digest(secret, f"offbeat keeper/1 {job} {generation}".encode(), "sha256")


def call_in(connection: socket.socket, key: bytes, job: str, generation: int, *, timeout: float) -> Channel:
    """Prove ourselves to the keeper at the other end; return the secured channel, with *timeout* (s) for each message.

    Raises:
        FrameError: It does not hold the key, or turned us away.
        OSError: The connection is broken.
    """
    connection.settimeout(HELLO_SECONDS)
    channel = Channel(connection, max_head=HELLO_BYTES, max_payload=0)
    ours = os.urandom(NONCE_BYTES)
    channel.send({"job": job, "generation": generation, "nonce": ours.hex()})
    answer, _ = channel.receive()
    if "refused" in answer:
        raise FrameError(f"turned away: {answer['refused']}")
    session = _Session(key, job, generation, ours, _nonce(answer))
    session.expect("server", answer)
    channel.send({"proof": session.proof("client")})
    return session.secured(connection, "client", timeout)


def let_in(
    connection: socket.socket, key_of: Callable[[str, int], bytes], *, timeout: float
) -> tuple[Channel, str, int]:
    """Have the keeper at the other end prove itself.

    Args:
        connection: As accepted.
        key_of: Returns the key of a job's generation; raises LookupError with the reason where there is none.
        timeout: Seconds for each later message.

    Returns:
        The secured channel, and the job and generation it is for.

    Raises:
        FrameError: It does not hold the key.
        OSError: The connection is broken.
    """
    connection.settimeout(HELLO_SECONDS)
    channel = Channel(connection, max_head=HELLO_BYTES, max_payload=0)
    hello, _ = channel.receive()
    job, generation = hello.get("job"), hello.get("generation")
    if not isinstance(job, str) or not isinstance(generation, int):
        raise FrameError("a hello without job and generation")
    try:
        key = key_of(job, generation)
    except LookupError as error:
        channel.send({"refused": str(error)[:200]})
        raise FrameError(str(error)) from None
    ours = os.urandom(NONCE_BYTES)
    session = _Session(key, job, generation, _nonce(hello), ours)
    channel.send({"nonce": ours.hex(), "proof": session.proof("server")})
    answer, _ = channel.receive()
    session.expect("client", answer)
    return session.secured(connection, "server", timeout), job, generation


class _Session:
    def __init__(self, key: bytes, job: str, generation: int, client: bytes, server: bytes) -> None:
        self._context = b"".join((client, server, f"{job} {generation}".encode()))
        self._key = key

    def proof(self, side: str) -> str:
        return self._derive(f"proof {side}").hex()

    def expect(self, side: str, message: dict[str, Any]) -> None:
        if not hmac.compare_digest(str(message.get("proof")).encode(), self.proof(side).encode()):
            raise FrameError(f"the {side} does not hold the key of this generation")

    def secured(self, connection: socket.socket, side: str, timeout: float) -> Channel:
        connection.settimeout(timeout)
        found = Channel(connection)
        keys = [self._derive("from client"), self._derive("from server")]
        found.secure(*(keys if side == "client" else keys[::-1]))
        return found

    def _derive(self, what: str) -> bytes:
        return hmac.digest(self._key, what.encode() + b"\0" + self._context, "sha256")


def _nonce(message: dict[str, Any]) -> bytes:
    try:
        nonce = bytes.fromhex(message["nonce"])
    except (KeyError, ValueError, TypeError):
        raise FrameError("no nonce") from None
    if len(nonce) != NONCE_BYTES:
        raise FrameError("a nonce of another length")
    return nonce
