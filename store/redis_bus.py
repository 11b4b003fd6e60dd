"""The bus of a cluster: Redis Streams, so that every replica and worker hears what any of them publishes."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from offbeat.store import codec
from offbeat.store.bus import QUEUE_SIZE, InProcessBus
from offbeat.store.errors import UnavailableError
from offbeat.store.redis_group import GroupReader
from offbeat.store.redis_order import Order
from offbeat.store.redis_writer import Writer, lowest

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store.bus import Subscription

PREFIX = "offbeat"
TELEMETRY = "telemetry"
"""Topics of this name, or that begin with it and a dot, hold telemetry: kept by time, not by number."""
BLOCK_MS = 500
"""How long one read waits; the end of the service waits as long."""
TIMEOUT_SECONDS = 5.0
SUBSCRIBE_SECONDS = 5.0
"""How long a new reader waits for what was published before it to pass; only a Redis that is away takes longer."""
RETRY_SECONDS = 0.2

_log = structlog.get_logger("offbeat.bus")


class RedisBus:
    """Topics as streams of Redis. Publishing never waits; each process reads a topic once, however many subscribe."""

    def __init__(self, url: str, *, mark: Callable[[], int] = time.time_ns, prefix: str = PREFIX) -> None:
        """Connect to *url*.

        Args:
            url: As redis-py takes it: redis://, rediss:// or unix://.
            mark: Gives the time (ns) before which everything this process accepted is in segments.
            prefix: What all keys begin with.

        Raises:
            UnavailableError: Redis does not answer.
        """
        self._client, self._prefix = connect(url), prefix
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise UnavailableError(f"Redis: {error}") from None
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._writer = Writer(self._client, prefix, name, mark)
        self._local = InProcessBus()
        self._lock = threading.Lock()
        self._topics: dict[str, _Topic] = {}
        self._closed = False

    @property
    def behind(self) -> bool:
        """Whether so much waits for Redis that no more telemetry should be accepted."""
        return self._writer.behind

    def publish(self, topic: str, payload: object) -> None:
        """Hand *payload* to every subscriber of *topic*, in any process; never waits for Redis."""
        measured = topic.partition(".")[0] == TELEMETRY
        self._writer.put(self._stream(topic), codec.encode(payload), measured=measured)

    def subscribe(self, topic: str, *, size: int = QUEUE_SIZE, wake: Callable[[], None] | None = None) -> Subscription:
        """Start to read *topic*; see `Bus.subscribe`."""
        if not self._closed:
            self._writer.flush(SUBSCRIBE_SECONDS)
            with self._lock:
                reader = self._topics.get(topic)
                if reader is None and not self._closed:
                    reader = self._topics[topic] = _Topic(self._client, self._stream(topic), topic, self._local)
            if reader is not None:
                reader.catch_up(SUBSCRIBE_SECONDS)
        return self._local.subscribe(topic, size=size, wake=wake)

    def consume(self, topic: str, group: str, generation: int, *, since: int) -> GroupReader:
        """Read *topic* as the one reader of *group*, from what was published at *since* (ns) on.

        What is read counts as done when the next message is asked for. A reader of a later *generation* ends those of
        earlier ones, which therefore cannot take messages from it.
        """
        return GroupReader(self._client, self._stream(topic), group, generation, since // 1_000_000)

    def reached(self) -> int:
        """Return the time (ns) before which all that was published is in segments.

        Raises:
            UnavailableError: Redis does not answer.
        """
        try:
            return lowest(self._client, f"{self._prefix}:marks", time.time_ns()) * 1_000_000
        except redis.RedisError as error:
            raise UnavailableError(f"Redis: {error}") from None

    def ping(self) -> None:
        """Make sure that Redis answers.

        Raises:
            UnavailableError: It does not.
        """
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise UnavailableError(f"Redis: {error}") from None

    def close(self) -> None:
        """Close every subscription; what was published is written first, if Redis takes it now."""
        with self._lock:
            first, self._closed = not self._closed, True
            topics = list(self._topics.values())
        if first:
            self._writer.stop()
        for topic in topics:
            topic.stop()
        self._local.close()
        self._client.close()

    def _stream(self, topic: str) -> str:
        return f"{self._prefix}:{topic}"


def connect(url: str) -> redis.Redis:
    """Return a client that fails after seconds, not never, and leaves it to the caller to try again.

    Raises:
        UnavailableError: The URL is none.
    """
    options: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith("unix://"):
        options["socket_connect_timeout"] = TIMEOUT_SECONDS
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise UnavailableError(f"Redis URL: {error}") from None


class _Topic:
    """The thread that reads one stream and hands it to the subscribers in this process."""

    def __init__(self, client: redis.Redis, stream: str, topic: str, local: InProcessBus) -> None:
        self._client, self._stream, self._topic, self._local = client, stream, topic, local
        self._moved = threading.Condition()
        self._stopping = False
        self._order = Order()
        try:
            self._at = last_id(client, stream)
        except redis.RedisError:
            self._at = f"{time.time_ns() // 1_000_000}-0"
        self._thread = threading.Thread(target=self._run, name=f"offbeat-bus-{topic}", daemon=True)
        self._thread.start()

    def catch_up(self, timeout: float) -> None:
        """Wait until what is in the stream now was handed out, or *timeout* seconds are over."""
        try:
            last = _key(last_id(self._client, self._stream))
        except redis.RedisError:
            return
        with self._moved:
            self._moved.wait_for(lambda: _key(self._at) >= last or self._stopping, timeout)

    def stop(self) -> None:
        with self._moved:
            self._stopping = True
            self._moved.notify_all()
        self._thread.join()

    def _run(self) -> None:
        away = False
        while not self._stopping:
            try:
                if away:
                    self._begin_again()
                    away = False
                found: Any = self._client.xread({self._stream: self._at}, count=500, block=BLOCK_MS)
            except redis.RedisError as error:
                if not away and not self._stopping:
                    _log.warning("Redis does not answer", topic=self._topic, error=str(error))
                away = True
                with self._moved:
                    self._moved.wait_for(lambda: self._stopping, RETRY_SECONDS)
                continue
            for _, entries in found:
                for id_, fields in entries:
                    self._hand_out(id_.decode(), fields)

    def _hand_out(self, id_: str, fields: dict[bytes, bytes]) -> None:
        try:
            if self._order.take(fields) is not None:
                self._local.publish(self._topic, codec.decode(fields))
        except codec.CodecError as error:
            _log.warning("message left out", topic=self._topic, error=str(error))
        with self._moved:
            self._at = id_
            self._moved.notify_all()

    def _begin_again(self) -> None:
        # A Redis that lost its memory and whose clock is behind numbers below what was read.
        if _key(last_id(self._client, self._stream)) < _key(self._at):
            self._at = "0-0"


def last_id(client: redis.Redis, stream: str) -> str:
    """Return the id last given out in *stream*, 0-0 when there is no such stream."""
    try:
        info: Any = client.xinfo_stream(stream)
    except redis.ResponseError:
        return "0-0"
    return str(info["last-generated-id"].decode())


def _key(id_: str) -> tuple[int, int]:
    head, _, tail = id_.partition("-")
    return int(head), int(tail)
