"""Which hosts have orders waiting: one question to the database for all calls that wait for one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FRESH_SECONDS = 0.4
"""How long an answer of the database is used; less, and ten thousand waiting agents are as many questions a second."""


class Mailbox:
    """The newest order of each host. Safe to use from many threads."""

    def __init__(self, ask: Callable[[int], Mapping[str, int]], clock: Callable[[], float] = time.monotonic) -> None:
        """Ask *ask*(n) for the newest order above n of each host, now and then."""
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}
        self._seen = 0
        self._asked_at = float("-inf")

    def newest(self, host: str) -> int:
        """Return the number of the newest order of *host*, 0 for none; it may have been answered meanwhile."""
        with self._lock:
            if self._clock() - self._asked_at >= FRESH_SECONDS:
                found = self._ask(self._seen)
                self._newest |= found
                self._seen = max([self._seen, *found.values()])
                self._asked_at = self._clock()
            return self._newest.get(host, 0)
