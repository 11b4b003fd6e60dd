"""Where the main thread is: its stack, looked at some times a second by a thread of our own, summed per second.

The same thread keeps the ring's clock pair fresh.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from offbeat.collector.recorders.session import Session

DEFAULT_HZ = 20.0
MAX_HZ = 200.0
"""Samples a second; more would cost the trainer what sampling is to save."""
MAX_FRAMES = 40
"""Frames looked at; deeper stacks are recursion, whose inner end says enough."""
MAX_PLACES = 20
"""Places told per second; the rest is summed as "other", or a trainer full of places floods the ring."""
STOP_SECONDS = 1.0
"""How long the end of the program may wait for a look that is under way."""
_MAX_KNOWN = 8192
_STDLIB = str(Path(os.__file__).parent)
_OURS = str(Path(__file__).parents[2])
_WAITS = {
    (str(Path(__file__).with_name(file)), name) for file, name in (("works.py", "wait"), ("operations.py", "blocked"))
}
"""Our own functions in which a thread waits for an operation."""
_KINDS = (
    ("/utils/data/", "data"),
    ("/distributed/distributed_c10d.py", "collective"),
    ("/distributed/_functional_collectives.py", "collective"),
    ("/autograd/", "backward"),
    ("/optim/", "optimizer"),
    ("/nn/modules/module.py", "forward"),
)
"""What the files of torch say about the work of a thread."""


class Sampler:
    """The thread that looks."""

    def __init__(self, session: Session, hz: float | None = None) -> None:
        """Look at *hz* samples a second; the default is `OFFBEAT_SAMPLE_HZ`, else 20; 0 keeps the clock only."""
        self._session = session
        self._hz = frequency() if hz is None else hz
        self._known: dict[CodeType, tuple[str, str]] = {}
        self._main = threading.main_thread().ident or 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offbeat-sampler", daemon=True)

    def start(self) -> None:
        """Start to look; stop before Python shuts down.

        A thread that Python ends for good while it holds frames leaves them behind, in memory that is then freed.
        """
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and wait a moment for the thread to end."""
        atexit.unregister(self.stop)
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def look(self) -> tuple[str, str]:
        """Return what the main thread does, and the innermost place that is neither torch's nor Python's."""
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - documented, for exactly this
        return self.classify(frame)

    def classify(self, frame: FrameType | None) -> tuple[str, str]:
        """Return kind and place of a stack, given its innermost frame."""
        kind = where = ""
        known = self._known
        for _ in range(MAX_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            entry = known.get(code)
            if entry is None:
                entry = self._learn(code)
            if not kind:
                kind = entry[0]
            if not where and entry[1]:
                where = f"{entry[1]}:{frame.f_lineno} {code.co_name}"
            if kind and where:
                break
            frame = frame.f_back
        return kind or "other", where

    def _learn(self, code: CodeType) -> tuple[str, str]:
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        entry = self._known[code] = kind_of(code.co_filename, code.co_name), place_of(code.co_filename)
        return entry

    def _run(self) -> None:
        session, period = self._session, 1.0 / self._hz if self._hz > 0 else 1.0
        seen: Counter[tuple[str, str]] = Counter()
        due = time.monotonic() + 1.0
        while not self._stop.wait(period):
            try:
                if self._hz > 0 and session.on:
                    seen[self.look()] += 1
                if time.monotonic() >= due:
                    due = time.monotonic() + 1.0
                    session.ring.tick()
                    _tell(seen, session.ring.sample)
                    seen.clear()
            except Exception as error:  # noqa: BLE001 - never into training
                session.guard.failed("stack sampling", error)
                return


def frequency() -> float:
    """Return the samples a second that `OFFBEAT_SAMPLE_HZ` asks for."""
    try:
        return min(MAX_HZ, max(0.0, float(os.environ.get("OFFBEAT_SAMPLE_HZ", DEFAULT_HZ))))
    except ValueError:
        return DEFAULT_HZ


def kind_of(file: str, function: str) -> str:
    """Return what a frame says about the work of its thread, empty where it says nothing."""
    torch = _torch_directory()
    if file.startswith(torch):
        return next((kind for part, kind in _KINDS if file.startswith(torch + part)), "")
    if (file, function) in _WAITS:
        return "collective"
    waits_for_data = (file == f"{_STDLIB}/queue.py" and function == "get") or file.startswith(
        (f"{_STDLIB}/multiprocessing/queues.py", f"{_STDLIB}/multiprocessing/connection.py")
    )
    return "data" if waits_for_data else ""


def place_of(file: str) -> str:
    """Return how a file is called in a place, empty for those of torch, of Python and of ours."""
    if file.startswith(("<", _OURS, _torch_directory())):
        return ""
    if file.startswith(_STDLIB) and "/site-packages/" not in file:
        return ""
    return "/".join(file.rsplit("/", 2)[-2:])


def _torch_directory() -> str:
    torch = sys.modules.get("torch")
    return str(Path(torch.__file__).parent) if torch is not None and torch.__file__ else "\0"


def _tell(seen: Counter[tuple[str, str]], tell: Callable[[int, str, str, int], None]) -> None:
    now = time.monotonic_ns()
    for (kind, where), n in seen.most_common(MAX_PLACES):
        tell(now, kind, where, n)
    rest = seen.total() - sum(n for _, n in seen.most_common(MAX_PLACES))
    if rest:
        tell(now, "other", "", rest)
