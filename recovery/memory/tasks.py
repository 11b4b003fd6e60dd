"""Long work that a leader orders and asks after: started once, however often it is ordered."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Tasks:
    """Threads by key; each is remembered until it has been asked after."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._found: dict[Hashable, str | None] = {}

    def start(self, key: Hashable, work: Callable[[], object]) -> None:
        """Do *work* in a thread, unless that of this key is under way."""
        with self._lock:
            if self._found.get(key, "") is None:
                return
            self._found[key] = None
        threading.Thread(target=self._run, args=(key, work), daemon=True).start()

    def state(self, key: Hashable) -> dict[str, Any]:
        """Return whether the work of *key* is done, and how it failed."""
        with self._lock:
            error = self._found.get(key, "it is not known here")
            if error is not None:
                self._found.pop(key, None)
        return {"done": error is not None, "failed": error or ""}

    def _run(self, key: Hashable, work: Callable[[], object]) -> None:
        error = ""
        try:
            work()
        except Exception as problem:  # noqa: BLE001 - told to whoever asks after it
            error = f"{problem}" or type(problem).__name__
        with self._lock:
            self._found[key] = error
