"""The way onto Redis Streams: one thread, so that no publisher ever waits for the network.

What was accepted is durable before it comes here. So a Redis that is away costs nothing but time: messages wait, and
when too many do, batches are refused and wait in the agents' spools. A Redis that lost its memory is given again what
no segment holds yet.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
import structlog

from offbeat import metrics
from offbeat.store.redis_order import NUMBER, WRITER

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_SECONDS = 60.0
"""How long messages stay readable; a worker that takes over a shard finds here what is in no segment yet."""
LONGEST_SECONDS = 600.0
"""How long they stay at most, when segments are not written; without it Redis fills up."""
WAITING_BYTES = 64 << 20
"""Bytes that may wait for Redis; beyond it `behind` asks for a pause, without it the process fills up."""
KEPT_MESSAGES = 10_000
"""Messages kept on topics other than telemetry; what they tell is in the database, too."""
AT_ONCE = 200
RETRY_SECONDS = 0.2
MARK_SECONDS = 1.0
"""How often this process says how far its segments reach."""

_waiting = metrics.gauge("offbeat_bus_waiting_bytes")
_lost = metrics.counter("offbeat_bus_lost_total")
_up = metrics.gauge("offbeat_bus_up")
_log = structlog.get_logger("offbeat.bus")


class Item(NamedTuple):
    """A message on its way: its stream, when it was published (ns), its fields, and whether it is telemetry."""

    stream: str
    at: int
    fields: dict[bytes, bytes]
    measured: bool

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return sum(map(len, self.fields.values()))


class Writer:
    """Writes what is put, in order, whenever Redis takes it."""

    def __init__(self, client: redis.Redis, prefix: str, name: str, mark: Callable[[], int]) -> None:
        """Write with *client*.

        Args:
            client: The connection.
            prefix: What all keys begin with.
            name: This process, among those that write.
            mark: Gives the time (ns) before which everything this process accepted is in segments.
        """
        self._client, self._marks, self._name, self._mark = client, f"{prefix}:marks", name, mark
        self._ready = threading.Condition()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._numbers: dict[str, int] = {}
        self._unsealed: deque[Item] = deque()
        self._run_id: str | None = None
        self._floor = 0
        self._marked = 0.0
        self._stopping = False
        self._idle = True
        self._thread = threading.Thread(target=self._run, name="offbeat-bus-writer", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        """Whether so much waits that no more should be accepted."""
        return self._bytes > WAITING_BYTES

    def put(self, stream: str, fields: dict[bytes, bytes], *, measured: bool) -> None:
        """Let a message wait for its turn; when far too much waits, the oldest is lost and counted."""
        with self._ready:
            if self._stopping:
                return
            number = self._numbers[stream] = self._numbers.get(stream, 0) + 1
            fields = {**fields, WRITER: self._name.encode(), NUMBER: str(number).encode()}
            item = Item(stream, time.time_ns(), fields, measured)
            self._items.append(item)
            self._bytes += item.size
            # Twice the limit: who asks `behind` first never comes here.
            while self._bytes > 2 * WAITING_BYTES and len(self._items) > 1:
                self._bytes -= self._items.popleft().size
                _lost.inc()
            self._idle = False
            self._ready.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put is written; False when it is not within *timeout* seconds."""
        with self._ready:
            return self._ready.wait_for(lambda: self._idle, timeout)

    def stop(self) -> None:
        """Write what can be written in a moment, and end."""
        self.flush(2.0)
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            with self._ready:
                self._ready.wait_for(lambda: self._items or self._stopping, MARK_SECONDS)
                some = [self._items[n] for n in range(min(AT_ONCE, len(self._items)))]
            try:
                self._tell_mark()
                self._write(some)
            except redis.RedisError as error:
                if self._run_id is not None:
                    _log.warning("Redis does not answer", error=str(error))
                self._run_id = None
                _up.set(0)
                self._pause()
                continue
            _up.set(1)
            with self._ready:
                for item in some:
                    # Some may have been dropped meanwhile, being the oldest.
                    if self._items and self._items[0] is item:
                        self._bytes -= self._items.popleft().size
                self._idle = not self._items
                _waiting.set(self._bytes)
                self._ready.notify_all()

    def _pause(self) -> None:
        with self._ready:
            self._ready.wait_for(lambda: self._stopping, RETRY_SECONDS)

    def _write(self, items: list[Item]) -> None:
        if not items:
            return
        self._send(items)
        self._unsealed.extend(item for item in items if item.measured)

    def _send(self, items: list[Item]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            if item.measured:
                pipeline.xadd(item.stream, item.fields, minid=self._floor, approximate=True)  # type: ignore[arg-type]  # the stubs know no bytes keys
            else:
                pipeline.xadd(item.stream, item.fields, maxlen=KEPT_MESSAGES, approximate=True)  # type: ignore[arg-type]  # the same
        pipeline.execute()

    def _tell_mark(self) -> None:
        """Say how far segments reach, learn how far those of all others do, and see whether Redis lost its memory."""
        if self._run_id is not None and time.monotonic() - self._marked < MARK_SECONDS:
            return
        now = time.time_ns()
        mine = min(self._mark(), now)
        while self._unsealed and self._unsealed[0].at < mine:
            self._unsealed.popleft()
        self._client.hset(self._marks, self._name, f"{mine // 1_000_000} {now // 1_000_000}")
        oldest = now // 1_000_000 - int(LONGEST_SECONDS * 1000)
        reached = lowest(self._client, self._marks, now)
        self._floor = max(min(reached, now // 1_000_000 - int(KEPT_SECONDS * 1000)), oldest)
        run_id = str(self._client.info("server")["run_id"])
        if self._run_id is None and self._unsealed:
            known = self._client.hget(self._marks, f"{self._name}:run")
            if known != run_id.encode():
                _log.warning("Redis lost its memory: what no segment holds yet is told again", n=len(self._unsealed))
                self._send(list(self._unsealed))
        self._client.hset(self._marks, f"{self._name}:run", run_id)
        self._run_id, self._marked = run_id, time.monotonic()


def lowest(client: redis.Redis, key: str, now: int) -> int:
    """Return the time (Unix ms) that the segments of every process reach, as told under *key*; *now* is in ns."""
    found: Any = client.hgetall(key)
    marks = [tuple(map(int, value.split())) for name, value in found.items() if not name.endswith(b":run")]
    # Who has not spoken for long is dead, and what it left has become segments, or never will.
    oldest = now // 1_000_000 - int(LONGEST_SECONDS * 1000)
    return min((mark for mark, told in marks if told > oldest), default=now // 1_000_000)
