"""Noticing that a process has ended, and how, without being its parent.

A pidfd becomes readable when the last thread is gone. How it ended is told by the kernel from 6.15 on
(PIDFD_GET_INFO, linux/pidfd.h) once the parent has collected it, and by `/proc/<pid>/stat` until then.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from pathlib import Path

from offbeat.collector import procfs

_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info), 64 bytes: the first published size
_INFO = struct.Struct("=QQ11Ii")  # mask, cgroup, pid and credentials, exit status
_INFO_EXIT = 1 << 3


class ExitWatch:
    """The end of one process."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        """Watch *pid* of our own PID namespace.

        Raises:
            ProcessLookupError: There is no such process.
            OSError: The kernel has no pidfds (before 5.3), or we have too many files open.
        """
        self._pid = pid
        self._proc = proc
        self._pidfd = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._pidfd, select.POLLIN)

    def ended(self) -> bool:
        """Say whether the whole process has ended."""
        return bool(self._poll.poll(0))

    def code(self) -> int | None:
        """Return how it ended: the exit code, minus the signal that killed it, or None where nobody can tell."""
        status = self._reaped()
        if status is None:
            status = self._zombie()
        if status is None:
            return None
        try:
            return os.waitstatus_to_exitcode(status)
        except ValueError:
            return None

    def close(self) -> None:
        """Let go of the process."""
        os.close(self._pidfd)

    def _reaped(self) -> int | None:
        buffer = bytearray(_INFO.pack(_INFO_EXIT, *([0] * 13)))
        try:
            fcntl.ioctl(self._pidfd, _GET_INFO, buffer)
        except OSError:  # an older kernel, or one that keeps no exit status
            return None
        mask, *_, status = _INFO.unpack(buffer)
        return int(status) if mask & _INFO_EXIT else None

    def _zombie(self) -> int | None:
        directory = self._proc / str(self._pid)
        try:
            owner = directory.stat().st_uid
            stat = procfs.Stat.parse(procfs.read(directory / "stat"))
        except (OSError, ValueError):
            return None
        # The kernel shows 0 to those who may not know.
        trusted = stat.exit_status != 0 or os.geteuid() in (0, owner)
        return stat.exit_status if stat.state == "Z" and trusted else None
