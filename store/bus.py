"""The bus: who is told what just happened. Nothing on it is the only copy; the store is what lasts."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from offbeat import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUE_SIZE = 1024
"""Messages a subscriber may lag behind; without it one slow reader fills the memory of the service."""

_dropped = metrics.counter("offbeat_bus_dropped_total")


class Subscription(Protocol):
    """One reader's place on a topic. Iterating it ends when it is closed."""

    @property
    def dropped(self) -> int:
        """Messages lost because this reader lagged, since it subscribed."""

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""

    def get(self, timeout: float | None = None) -> object | None:
        """Return the oldest unread message; None when none came within *timeout* seconds, or it is closed.

        Without *timeout* it waits as long as it takes; 0 does not wait.
        """

    def close(self) -> None:
        """Stop; what was not read is discarded and waiting readers return."""

    def __iter__(self) -> Iterator[object]:
        """Yield messages until closed."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""


class Bus(Protocol):
    """Topics with any number of readers, each of whom sees every message published after it subscribed, in order."""

    @property
    def behind(self) -> bool:
        """Whether so much waits to be handed on that no more telemetry should be accepted for now."""

    def publish(self, topic: str, payload: object) -> None:
        """Hand *payload* to every subscriber of *topic*; never waits for any of them."""

    def subscribe(self, topic: str, *, size: int = QUEUE_SIZE, wake: Callable[[], None] | None = None) -> Subscription:
        """Start to read *topic*.

        Args:
            topic: Name of the topic.
            size: How many unread messages are kept; beyond it the oldest is dropped and counted.
            wake: Called, from the publisher's thread, when something is there to be read or it is closed;
                for readers that cannot wait in `get`, such as an event loop.
        """

    def close(self) -> None:
        """Close every subscription."""


class InProcessBus:
    """The bus of the embedded service: all readers live in this process and get the object itself, not a copy."""

    def __init__(self) -> None:
        """Start without topics."""
        self._lock = threading.Lock()
        self._topics: dict[str, tuple[_Queue, ...]] = {}
        self._closed = False

    @property
    def behind(self) -> bool:
        """Never: what a reader cannot take is dropped and counted."""
        return False

    def publish(self, topic: str, payload: object) -> None:
        """Hand *payload* to every subscriber of *topic*; never waits for any of them."""
        with self._lock:
            # Under the lock, so that all subscribers see two publishers' messages in one order.
            queues = self._topics.get(topic, ())
            for queue in queues:
                queue.put(payload)
        for queue in queues:
            queue.call_wake()

    def subscribe(self, topic: str, *, size: int = QUEUE_SIZE, wake: Callable[[], None] | None = None) -> Subscription:
        """Start to read *topic*; see `Bus.subscribe`."""
        queue = _Queue(topic, size, wake, lambda it: self._remove(topic, it))
        with self._lock:
            if not self._closed:
                self._topics[topic] = (*self._topics.get(topic, ()), queue)
                return queue
        queue.close()
        return queue

    def close(self) -> None:
        """Close every subscription; later ones are closed from the start."""
        with self._lock:
            self._closed = True
            queues = [queue for group in self._topics.values() for queue in group]
        for queue in queues:
            queue.close()

    def _remove(self, topic: str, queue: _Queue) -> None:
        with self._lock:
            left = tuple(other for other in self._topics.get(topic, ()) if other is not queue)
            if left:
                self._topics[topic] = left
            else:
                self._topics.pop(topic, None)


class _Queue:
    def __init__(
        self, topic: str, size: int, wake: Callable[[], None] | None, on_close: Callable[[_Queue], None]
    ) -> None:
        if size < 1:
            raise ValueError("size must be at least 1")
        self._items: deque[object] = deque(maxlen=size)
        self._ready = threading.Condition()
        self._wake = wake
        self._on_close = on_close
        self._dropped = 0
        self._count = _dropped.labels(topic)
        self._closed = False

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, payload: object) -> None:
        with self._ready:
            if self._closed:
                return
            if len(self._items) == self._items.maxlen:
                self._dropped += 1  # the deque lets its oldest go
                self._count.inc()
            self._items.append(payload)
            self._ready.notify()

    def call_wake(self) -> None:
        if self._wake is not None:
            self._wake()

    def get(self, timeout: float | None = None) -> object | None:
        with self._ready:
            self._ready.wait_for(lambda: self._items or self._closed, timeout)
            return self._items.popleft() if self._items else None

    def close(self) -> None:
        with self._ready:
            if self._closed:
                return
            self._closed = True
            self._items.clear()
            self._ready.notify_all()
        self._on_close(self)
        self.call_wake()

    def __iter__(self) -> Iterator[object]:
        while (item := self.get()) is not None:
            yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
