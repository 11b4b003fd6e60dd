"""How much of the service one client, or all of them together, may take."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from offbeat.api.problems import Problem
from offbeat.wire import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON = 64 << 10
"""Bytes of a request body other than telemetry; without it anybody can make the service hold whatever they send."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive; without it a client that sends a byte a minute holds its place for ever."""
DRAIN_BYTES, DRAIN_SECONDS = 32 << 20, 5.0
"""How much is read of a body that was refused; without it the connection is reset before the client reads why."""

TELEMETRY_PATH = "/api/v1/telemetry"


class Gate:
    """A bounded number of places; who finds none is told to come back. For use on the event loop."""

    def __init__(self, places: int, what: str) -> None:
        """Open with *places* for *what* (a plural, for the message)."""
        self.places = places
        self.what = what
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Problem: All are taken: 429 with `Retry-After`.
        """
        if self.taken >= self.places:
            raise Problem(429, f"too many {self.what} at once; the limit is {self.places}", "busy", retry_after=1)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class FailureLimit:
    """Counts failures by client address in a sliding way: each client has a bucket that refills with time."""

    BURST = 10
    """Failures a client has at hand; without the limit guessing costs nothing."""
    REFILL_SECONDS = 6.0
    """Time for one more."""
    CLIENTS = 4096
    """Addresses remembered, newest first; without it a spray of addresses fills the memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without failures."""
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def failed(self, client: str) -> float:
        """Count one failure of *client*.

        Returns:
            0 while it is within the limit, else the seconds until it is again.
        """
        now = self._clock()
        left, at = self._buckets.pop(client, (float(self.BURST), now))
        left = min(float(self.BURST), left + (now - at) / self.REFILL_SECONDS) - 1.0
        self._buckets[client] = (max(left, -1.0), now)
        while len(self._buckets) > self.CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if left >= 0 else -left * self.REFILL_SECONDS


class BodyLimit:
    """ASGI middleware: bounds the size of each body and the time it takes, and reads out what it refuses."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = MAX_BODY if scope["path"] == TELEMETRY_PATH else MAX_JSON
        body = _Body(receive, send, limit, waits="expect" in headers)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > body.limit:
            await body.too_large().response()(scope, receive, body.answer)
        else:
            await self.app(scope, body.take, body.answer)


class _Body:
    """One request's body on its way in."""

    def __init__(self, receive: Receive, send: Send, limit: int, *, waits: bool) -> None:
        self._waits = waits
        self._receive = receive
        self._send = send
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        self._size = 0
        self._complete = False
        self.limit = limit

    def too_large(self) -> Problem:
        return Problem(413, f"the body is larger than {self.limit} bytes", "too-large", limit=self.limit)

    async def take(self) -> Message:
        """Receive for the application."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._next()
        except TimeoutError:
            raise Problem(408, f"the body took longer than {BODY_SECONDS:g} s", "slow-body") from None
        if self._size > self.limit:
            raise self.too_large()
        return message

    async def answer(self, message: Message) -> None:
        """Send for the application."""
        if message["type"] == "http.response.start" and not self._complete:
            # Who asked first, by Expect: 100-continue, sends nothing once it is refused.
            if not self._waits:
                await self._drain()
            if not self._complete:
                # What still comes on this connection is the body, not the next request.
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        else:
            self._complete = True
        return message

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._complete and self._size < self.limit + DRAIN_BYTES:
                    await self._next()
        except TimeoutError:
            return
