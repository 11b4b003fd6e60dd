"""A bound on bytes a second, so that coding yields to what the training job itself sends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BURST_SECONDS = 0.05
"""How much may be sent at once after a pause: more delays the job's own messages, less cannot fill fast links."""


class Pace:
    """A token bucket that several threads share."""

    def __init__(
        self,
        bytes_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Allow so many bytes a second; 0 is without bound."""
        self._rate, self._clock, self._sleep = bytes_per_second, clock, sleep
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> None:
        """Wait until *nbytes* more may be sent."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            begins = max(self._free_at, now - BURST_SECONDS)
            self._free_at = begins + nbytes / self._rate
        if begins > now:
            self._sleep(begins - now)
