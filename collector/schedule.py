"""Run and wait time of all threads of a process, cumulative, cheaply.

`schedstat` of a process tells its first thread alone, so each thread's is read; kept open, a reading costs a fifth.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from offbeat.collector import procfs

MAX_OPEN = 512
"""Threads of one process whose files are kept open; without it many threads use up the agent's file descriptors."""


@dataclass(slots=True)
class _Thread:
    descriptor: int
    """-1 where it is not kept open."""
    run_ns: int = 0
    wait_ns: int = 0


class Schedule:
    """Sums over all threads that a process has or had since we began to look, so that they never fall."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        """Look at *pid*; nothing is opened yet."""
        self._tasks = f"{proc}/{pid}/task"
        self._threads: dict[str, _Thread] = {}
        self._gone_run_ns = 0
        self._gone_wait_ns = 0

    def read(self) -> tuple[float, float]:
        """Return (seconds run, seconds ready to run but waiting for a processor).

        Raises:
            OSError: The process is gone, or the kernel keeps no such statistics.
        """
        names = set(procfs.names(self._tasks))
        for name in self._threads.keys() - names:
            self._forget(name)
        for name in names:
            self._update(name)
        run = self._gone_run_ns + sum(thread.run_ns for thread in self._threads.values())
        wait = self._gone_wait_ns + sum(thread.wait_ns for thread in self._threads.values())
        return run / 1e9, wait / 1e9

    def close(self) -> None:
        """Close all files."""
        for name in list(self._threads):
            self._forget(name)

    def _update(self, name: str) -> None:
        thread = self._threads.get(name)
        try:
            if thread is not None and thread.descriptor >= 0:
                data = os.pread(thread.descriptor, 64, 0)
            else:
                data, descriptor = self._open(name)
                if thread is None:
                    thread = self._threads[name] = _Thread(descriptor)
        except (FileNotFoundError, ProcessLookupError):  # ended since the listing
            return
        run, wait, _ = data.split()
        thread.run_ns, thread.wait_ns = int(run), int(wait)

    def _open(self, name: str) -> tuple[bytes, int]:
        """Return the text of a thread's file, and its descriptor, or -1 where it is not kept open."""
        descriptor = os.open(f"{self._tasks}/{name}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        keep = False
        try:
            data = os.pread(descriptor, 64, 0)
            keep = len(self._threads) < MAX_OPEN
        finally:
            if not keep:
                os.close(descriptor)
        return data, descriptor if keep else -1

    def _forget(self, name: str) -> None:
        thread = self._threads.pop(name)
        self._gone_run_ns += thread.run_ns
        self._gone_wait_ns += thread.wait_ns
        if thread.descriptor >= 0:
            os.close(thread.descriptor)
