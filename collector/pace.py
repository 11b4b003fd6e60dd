"""Doing something less often than asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """Says when a stretch of time is over; the first time at once."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Let *seconds* pass between two times; *clock* counts seconds."""
        self._seconds = seconds
        self._clock = clock
        self._next = float("-inf")

    def due(self) -> bool:
        """Say whether the time has come, and if so begin the next stretch."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
