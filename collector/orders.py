"""The line on which orders come down: the agent asks, over a connection of its own, and waits for the answer.

It runs in a thread of its own and touches nothing else: whatever happens to it, telemetry goes on.
"""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_SECONDS = 25.0
"""How long the service may let a call wait; longer, and proxies between break it off."""
PATIENCE_SECONDS = 15.0
"""How much longer than that an answer may take."""
BACKOFF_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 60.0
"""Longest pause after calls that failed; without pauses a service in trouble is asked by all agents at once."""
REFUSED_SECONDS = 300.0
"""Pause after an answer that asking again does not change: an older service, or a token that may not."""
HELD = 64
"""Orders that may wait to be carried out here; those beyond are asked for again later."""
ANSWER_TRIES = 5
"""Times that a result is sent; then it is left to the service to give the order again."""

_JSON = {"Content-Type": "application/json"}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """What the service asks for, not yet checked."""

    id: int
    kind: str
    arguments: dict[str, Any]


class OrderLine:
    """Brings orders to the agent, and its answers back."""

    def __init__(self, host: str, client: httpx2.Client) -> None:
        """Ask as *host* through *client*, which is closed at the end."""
        self._path = f"/api/v1/agents/{host}/orders"
        self._client = client
        self._orders: queue.Queue[Order] = queue.Queue(HELD)
        self._answers: queue.SimpleQueue[tuple[int, str, dict[str, Any]]] = queue.SimpleQueue()
        self._after = 0
        self._failures = 0
        self._said = ""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=loop, name=f"offbeat-orders-{name}", daemon=True)
            for name, loop in (("in", self._listen), ("out", self._reply))
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; a call that waits is broken off."""
        self._stop.set()
        self._answers.put((0, "", {}))
        self._client.close()

    def take(self) -> Iterator[Order]:
        """Yield the orders that have come, each once."""
        while True:
            try:
                yield self._orders.get_nowait()
            except queue.Empty:
                return

    def answer(self, order: Order, state: str, result: dict[str, Any]) -> None:
        """Send what became of an order: done, failed or refused."""
        self._answers.put((order.id, state, result))

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._ask()
            except Exception as error:  # noqa: BLE001 - an odd answer must not end the line for good
                pause = self._failed(f"{type(error).__name__}: {error}")
            self._stop.wait(pause)

    def _ask(self) -> float:
        """Wait for orders once; return seconds to pause."""
        asked = {"after": self._after, "wait": WAIT_SECONDS}
        try:
            answer = self._client.get(self._path, params=asked, timeout=WAIT_SECONDS + PATIENCE_SECONDS)
        except (httpx2.HTTPError, RuntimeError) as error:  # the client is closed while it waits when the agent ends
            return self._failed(str(error) or type(error).__name__)
        if answer.status_code in {401, 403, 404, 405}:
            self._say(f"status {answer.status_code}", why="the service gives this agent no orders")
            return REFUSED_SECONDS
        if answer.status_code != httpx2.codes.OK:
            return self._failed(f"status {answer.status_code}")
        for item in answer.json()["items"]:
            order = Order(int(item["id"]), str(item["kind"]), dict(item["arguments"]))
            try:
                self._orders.put_nowait(order)
            except queue.Full:
                return self._failed(f"{HELD} orders wait to be carried out")
            self._after = max(self._after, order.id)
        self._failures = 0
        self._say("")
        return 0.0

    def _reply(self) -> None:
        while True:
            id_, state, result = self._answers.get()
            for failures in range(ANSWER_TRIES):
                if self._stop.is_set():
                    return
                if self._told(id_, state, result):
                    break
                self._stop.wait(_pause(failures))

    def _told(self, id_: int, state: str, result: dict[str, Any]) -> bool:
        try:
            answer = self._client.post(
                f"{self._path}/{id_}/result", json={"state": state, "result": result}, headers=_JSON
            )
        except (httpx2.HTTPError, RuntimeError):
            return False
        return answer.status_code < 500 and answer.status_code != httpx2.codes.TOO_MANY_REQUESTS

    def _failed(self, why: str) -> float:
        self._failures += 1
        self._say("unreachable", why=why)
        return _pause(self._failures)

    def _say(self, state: str, **facts: str) -> None:
        """Log a change, and only a change."""
        if state == self._said or self._stop.is_set():
            return
        self._said = state
        if state:
            _log.warning("no orders can come", **facts)
        else:
            _log.info("orders can come again")


def _pause(failures: int) -> float:
    """Return a pause that grows with *failures*; by chance, so that agents do not ask in step."""
    longest = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - keeps no secret
