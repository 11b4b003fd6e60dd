"""Copies one state after the other into slots, in a thread, while the trainer goes on with what does not change it."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import arrays
from offbeat.recovery.memory.slot import checksums

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from offbeat.recovery.memory.epoch import Seal
    from offbeat.recovery.memory.layout import Layout
    from offbeat.recovery.memory.slot import Slot


SLOW = "the keeper gave no slot before the next optimizer step"


class Phase(Enum):
    """How far a snapshot is."""

    ASKING = 0
    """No slot yet: it can be given up."""
    COPYING = 1
    DONE = 2


@dataclass
class Snapshot:
    """One snapshot on its way."""

    step: int
    layout: Layout
    skeleton: bytes
    big: list[Any]
    """Tensors and arrays to be copied."""
    versions: list[int]
    """Of each of `big`, when it was taken."""
    small: list[NDArray[np.uint8]]
    """Copies already, in the order of the layout's last entries."""
    ready: Any = None
    """Entered while `big` is read from a device; None where it lies in host memory."""
    phase: Phase = Phase.ASKING
    given_up: bool = False
    settled: threading.Event = field(default_factory=threading.Event)
    """Set when it is no longer asking."""
    copied: threading.Event = field(default_factory=threading.Event)
    """Set when nothing of `big` is read any more."""
    finished: threading.Event = field(default_factory=threading.Event)
    """Set when it is sealed and the keeper was told, or when there is nothing to be had of it."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Figures:
    """What snapshots have cost and what became of them; times in seconds."""

    taken: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Why → how often."""
    voided: int = 0
    """Snapshots whose tensors changed while they were copied."""
    last_step: int | None = None
    last_copy_seconds: float = 0.0
    copy_seconds: float = 0.0
    last_stall_seconds: float = 0.0
    stall_seconds: float = 0.0
    """What the trainer waited for: all of `step()`, and the rest of the copy before the optimizer's step."""
    bytes: int = 0

    def skip(self, why: str) -> None:
        """Count a snapshot that was not taken."""
        self.skipped[why] = self.skipped.get(why, 0) + 1


class Copier:
    """A thread that copies snapshots, one at a time."""

    def __init__(
        self, ask: Callable[[Snapshot], Slot], seal: Callable[[Snapshot], Seal], tell: Callable[[Snapshot], None],
        skip: Callable[[str], None], figures: Figures,
    ) -> None:  # fmt: skip
        """Copy in a thread of our own.

        Args:
            ask: Gets the slot to write, or raises why there is none.
            seal: Says what the image is.
            tell: Tells that it was sealed.
            skip: Told why a snapshot was not taken.
            figures: Where to count.
        """
        self._ask, self._seal, self._tell, self._skip, self._figures = ask, seal, tell, skip, figures
        self._next: Snapshot | None = None
        self._wake = threading.Condition()
        self._closing = self._asking = False
        self._thread = threading.Thread(target=self._run, name="offbeat-snapshots", daemon=True)
        self._thread.start()

    @property
    def asking(self) -> bool:
        """Whether an earlier snapshot, given up meanwhile, still waits for its slot: another would wait behind it."""
        return self._asking

    def submit(self, snapshot: Snapshot) -> None:
        """Copy *snapshot* as soon as it can be; the one before is finished."""
        with self._wake:
            if self._next is not None:
                self._skip(SLOW)
            self._next = snapshot
            self._wake.notify()

    def finish(self, snapshot: Snapshot, patience: float | None) -> None:
        """Wait until nothing of *snapshot* is read any more.

        Args:
            snapshot: Which.
            patience: Seconds after which to do without it if it has no slot yet; None: wait for the keeper.
        """
        if patience is not None:
            if patience:
                snapshot.settled.wait(patience)
            with snapshot.lock:
                if snapshot.phase is Phase.ASKING:
                    snapshot.given_up = True
                    return
        while not snapshot.copied.wait(1.0) and self._thread.is_alive():
            pass

    def wait(self, snapshot: Snapshot) -> None:
        """Wait until *snapshot* is sealed, or will never be."""
        while not snapshot.finished.wait(1.0) and self._thread.is_alive():
            pass

    def close(self) -> None:
        """End the thread, when it has finished what it does."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._next is None and not self._closing:
                    self._wake.wait()
                snapshot, self._next = self._next, None
            if snapshot is None:
                return
            try:
                self._copy(snapshot)
            except Exception as error:  # noqa: BLE001 - never into training; the reason is counted and shown
                self._skip(f"{error}" or type(error).__name__)
            finally:
                snapshot.phase = Phase.DONE
                for event in (snapshot.settled, snapshot.copied, snapshot.finished):
                    event.set()

    def _copy(self, snapshot: Snapshot) -> None:
        self._asking = True
        try:
            slot = self._ask(snapshot)
        finally:
            self._asking = False
        with snapshot.lock:
            if snapshot.given_up:
                self._skip(SLOW)
                return
            snapshot.phase = Phase.COPYING
        snapshot.settled.set()
        begun = time.perf_counter()
        slot.begin()
        image = slot.data[: snapshot.layout.nbytes]
        snapshot.layout.write_head(image, snapshot.skeleton)
        copy(snapshot, image)
        if snapshot.versions != versions(snapshot.big):
            self._figures.voided += 1
            return
        self._figures.last_copy_seconds = time.perf_counter() - begun
        self._figures.copy_seconds += self._figures.last_copy_seconds
        snapshot.copied.set()  # what follows reads the copy alone: the trainer need not wait for it
        slot.seal(self._seal(snapshot), checksums(image, slot.chunk))
        self._figures.bytes = snapshot.layout.nbytes
        self._figures.taken += 1
        self._figures.last_step = snapshot.step
        self._tell(snapshot)


def copy(snapshot: Snapshot, image: NDArray[np.uint8]) -> None:
    """Copy a snapshot's arrays into *image*."""
    with snapshot.ready or contextlib.nullcontext():
        sources = [*snapshot.big, *snapshot.small]
        for source, target in zip(sources, snapshot.layout.views(image), strict=True):
            arrays.read_into(source, target)


def versions(values: list[Any]) -> list[int]:
    """Return how often each tensor was changed in place, as autograd counts; changes by way of `.data` do not count."""
    return [getattr(getattr(value, "_local_tensor", value), "_version", 0) for value in values]
