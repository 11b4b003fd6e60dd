"""Reading `/proc`: whole small files, unbuffered, and the fields of `stat` (proc_pid_stat(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_READ = 1 << 16
MAX_BYTES = 1 << 22
"""Longest file read; without it a file that never ends fills the agent's memory."""


def read(path: Path | str) -> bytes:
    """Return a file's content; the kernel hands out tables a page at a time, so it is asked until it says no more.

    Raises:
        OSError: It cannot be read; ProcessLookupError and FileNotFoundError when the process is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while (chunk := os.read(descriptor, _READ)) and len(data) < MAX_BYTES:
            data += chunk
        return data
    finally:
        os.close(descriptor)


def names(directory: Path | str) -> list[str]:
    """Return the names in a directory.

    Raises:
        OSError: It cannot be read, or is gone.
    """
    return os.listdir(directory)  # noqa: PTH208 - thousands of entries a second, of which the name is all that matters


def namespace(path: Path) -> int | None:
    """Return the inode that identifies a namespace such as ``/proc/1/ns/net``; None where we may not look."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of `stat` that the agent uses; times in clock ticks, rss in pages."""

    state: str
    minor_faults: int
    major_faults: int
    cpu_ticks: int
    start_ticks: int
    rss_pages: int
    exit_status: int
    """Wait status of a zombie, as far as we may see it."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the text of a `stat` file.

        Raises:
            ValueError: It is cut off or not of that format.
        """
        values = data[data.rfind(b")") + 1 :].split()
        if len(values) < 50:
            raise ValueError(f"stat of {len(values)} fields")
        return cls(
            state=values[0].decode("ascii", "replace"),
            minor_faults=int(values[7]),
            major_faults=int(values[9]),
            cpu_ticks=int(values[11]) + int(values[12]),
            start_ticks=int(values[19]),
            rss_pages=int(values[21]),
            exit_status=int(values[49]),
        )
