"""One reader's way through a stream of Redis, whose place a consumer group keeps."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import redis
import structlog

from offbeat import metrics
from offbeat.store import codec
from offbeat.store.redis_order import Order

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 100
"""Messages fetched in one go; more only fill the reader's memory."""
BLOCK_MS = 500
RETRY_SECONDS = 0.2
_CONSUMER = "reader"

_skipped = metrics.counter("offbeat_bus_skipped_total")
_log = structlog.get_logger("offbeat.bus")


class GroupReader:
    """A subscription that Redis keeps the place of; see `RedisBus.consume`. For one thread, closed by any."""

    def __init__(self, client: redis.Redis, stream: str, group: str, generation: int, since_ms: int) -> None:
        """Begin at the first message published at *since_ms* or later (Unix time, ms)."""
        self._client, self._stream, self._prefix, self._generation = client, stream, f"{group}:", generation
        self._group = f"{group}:{generation}"
        self._start = f"{max(since_ms - 1, 0)}-{(1 << 64) - 1}" if since_ms > 0 else "0-0"
        self._fetched: deque[tuple[bytes, dict[bytes, bytes]]] = deque()
        self._done: list[bytes] = []
        self._closed = threading.Event()
        self._placed = False
        self._order = Order()
        self.dropped = 0
        """Messages that were gone before this reader came to them."""
        self.broken = False
        """Whether something was missed: what is in memory has a hole, and should be built anew from segments."""

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed.is_set()

    def get(self, timeout: float | None = None) -> object | None:
        """Return the oldest unread message; None when none came within *timeout* seconds, or it is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed.is_set():
            while self._fetched:
                id_, fields = self._fetched.popleft()
                self._done.append(id_)
                missed = self._order.take(fields)
                if missed is None:
                    continue
                if missed:
                    self._miss(missed)
                try:
                    return codec.decode(fields)
                except codec.CodecError as error:
                    _log.warning("message left out", stream=self._stream, error=str(error))
            left = BLOCK_MS / 1000 if deadline is None else deadline - time.monotonic()
            if not self._fetch(left) and deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def close(self) -> None:
        """Stop; what was handed out and not asked after counts as not done."""
        self._closed.set()

    def __iter__(self) -> Iterator[object]:
        """Yield messages until closed."""
        while not self._closed.is_set():
            if (item := self.get(1.0)) is not None:
                yield item

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _fetch(self, seconds: float) -> bool:
        """Fetch some messages, waiting up to *seconds*; whether there were any."""
        try:
            if not self._placed:
                self._place()
            if self._closed.is_set():
                return False
            if self._done:
                self._client.xack(self._stream, self._group, *self._done)
                self._done.clear()
            block = max(1, min(int(seconds * 1000), BLOCK_MS)) if seconds > 0 else None
            found: Any = self._client.xreadgroup(
                self._group, _CONSUMER, {self._stream: ">"}, count=AT_ONCE, block=block
            )
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # Redis lost its memory. What is told again continues where this reader is, or the numbers show a gap.
            _log.warning("the group is gone: beginning anew", stream=self._stream)
            self._done.clear()
            self._start, self._placed = "0-0", False
            return False
        except redis.RedisError as error:
            _log.warning("Redis does not answer", stream=self._stream, error=str(error))
            self._closed.wait(min(RETRY_SECONDS, max(seconds, 0.0)))
            return False
        for _, entries in found or ():
            # A message trimmed between its delivery and now comes without fields.
            self._fetched.extend((id_, fields) for id_, fields in entries if fields)
        return bool(self._fetched)

    def _place(self) -> None:
        """Set the group to where this reader begins, and end the readers before it; end, when there is a later one."""
        for other in self._generations():
            if other > self._generation:
                _log.warning("another reader has taken over", stream=self._stream, generation=other)
                self._closed.set()
                return
            if other < self._generation:
                self._client.xgroup_destroy(self._stream, f"{self._prefix}{other}")
        try:
            self._client.xgroup_create(self._stream, self._group, id=self._start, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            self._client.xgroup_setid(self._stream, self._group, self._start)
        self._placed = True

    def _generations(self) -> list[int]:
        try:
            found: Any = self._client.xinfo_groups(self._stream)
        except redis.ResponseError:
            return []  # no such stream yet
        names = [group["name"].decode() for group in found]
        return [int(name.removeprefix(self._prefix)) for name in names if name.startswith(self._prefix)]

    def _miss(self, number: int) -> None:
        self.dropped += number
        self.broken = True
        _skipped.inc(number)
        _log.warning("messages were missed", stream=self._stream, n=number)
