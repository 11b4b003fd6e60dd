"""Whether a process stands still: stopped by a signal, frozen by its control group, or stuck in the kernel.

A cgroup v1 freezer leaves its threads in state D, a v2 one in S; both say so in their own files
(docs.kernel.org, admin-guide/cgroup-v1/freezer-subsystem and admin-guide/cgroup-v2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_GROUPS = 1000
"""Control groups remembered; without a bound a node that runs for months collects those of all its jobs."""


class Stillness(StrEnum):
    """What a process does as a whole."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNINTERRUPTIBLE = "uninterruptible"


@dataclass(slots=True)
class _Seen:
    state: Stillness = Stillness.RUNNING
    candidate: Stillness = Stillness.RUNNING
    since: int = 0
    cpu_ticks: int = -1


class StillnessTracker:
    """Believes in a standstill once two looks in a row agree and no processor time passed between them.

    One look is not enough: a process that is stopped and continued many times a second is slow, not stopped.
    """

    def __init__(self, *, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        """Read the machine below *proc* and *sys*."""
        self._proc = proc
        self._cgroups = sys / "fs" / "cgroup"
        self._seen: dict[int, _Seen] = {}
        self._files: dict[bytes, tuple[tuple[str, bytes], ...]] = {}

    def look(self, pid: int, at: int) -> tuple[Stillness, int] | None:
        """Look at *pid* at time *at* (Unix ns).

        Returns:
            The new state and since when, if it has changed since the look before; else None.

        Raises:
            OSError: The process is gone.
            ValueError: `/proc` reads like nothing known.
        """
        stat = procfs.Stat.parse(procfs.read(f"{self._proc}/{pid}/stat"))
        now = self._state(pid, stat.state)
        seen = self._seen.setdefault(pid, _Seen())
        if now is not seen.candidate or (now is not Stillness.RUNNING and stat.cpu_ticks != seen.cpu_ticks):
            seen.candidate, seen.since, confirmed = now, at, now is Stillness.RUNNING
        else:
            confirmed = True
        seen.cpu_ticks = stat.cpu_ticks
        if confirmed and now is not seen.state:
            seen.state = now
            return now, seen.since
        return None

    def state(self, pid: int) -> Stillness:
        """Return what was last found of *pid*; running if it was never looked at."""
        seen = self._seen.get(pid)
        return seen.state if seen else Stillness.RUNNING

    def keep_only(self, pids: set[int]) -> None:
        """Forget all others, so that a reused number starts afresh."""
        for pid in self._seen.keys() - pids:
            del self._seen[pid]

    def _state(self, pid: int, leader: str) -> Stillness:
        # A process with hundreds of threads is looked into only when its first thread stands still.
        if leader in "Tt" or leader == "D":
            states = self._threads(pid)
            if states <= {"T", "t", "D"}:
                if states != {"D"} or self._frozen(pid):
                    return Stillness.STOPPED
                return Stillness.UNINTERRUPTIBLE
        elif leader == "S" and self._frozen(pid):
            return Stillness.STOPPED
        return Stillness.RUNNING

    def _threads(self, pid: int) -> set[str]:
        tasks = f"{self._proc}/{pid}/task"
        states = set()
        for name in procfs.names(tasks):
            try:
                state = procfs.Stat.parse(procfs.read(f"{tasks}/{name}/stat")).state
            except (FileNotFoundError, ProcessLookupError):  # ended since the listing
                continue
            states.add(state)
            if state not in "TtD":
                break
        return states

    def _frozen(self, pid: int) -> bool:
        try:
            groups = procfs.read(f"{self._proc}/{pid}/cgroup")
        except OSError:
            return False
        files = self._files.get(groups)
        if files is None:
            if len(self._files) >= MAX_GROUPS:
                self._files.clear()
            files = self._files[groups] = tuple(self._freezers(groups.decode("utf-8", "replace")))
        return any(_says(path, word) for path, word in files)

    def _freezers(self, groups: str) -> Iterator[tuple[str, bytes]]:
        """Yield the files that tell whether one of *groups* (lines of `/proc/<pid>/cgroup`) is frozen, and the word."""
        for line in groups.splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            group = path.strip("/")
            if not group:  # nobody can freeze the root
                continue
            if controllers == "freezer":
                yield f"{self._cgroups}/freezer/{group}/freezer.state", b"FROZEN"
            elif not controllers:  # version 2 alone, or beside version 1 ("hybrid")
                yield f"{self._cgroups}/{group}/cgroup.events", b"frozen 1"
                yield f"{self._cgroups}/unified/{group}/cgroup.events", b"frozen 1"


def _says(path: str, word: bytes) -> bool:
    try:
        return word in procfs.read(path)
    except OSError:
        return False
