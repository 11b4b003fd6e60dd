"""How much memory snapshots may take, and the arithmetic shown when they do not fit."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 1 << 30


class BudgetError(Exception):
    """Something does not fit; the message holds the sum."""


class Budget:
    """Bytes that all files of a keeper together may take."""

    def __init__(self, limit: int, directory: Path) -> None:
        """Allow *limit* bytes in files of *directory*."""
        self.limit = limit
        self._directory = directory
        self.used = 0

    def check(self, wanted: int, sum_in_words: str) -> None:
        """See whether *wanted* more bytes fit.

        Args:
            wanted: Bytes.
            sum_in_words: How they come about, for people.

        Raises:
            BudgetError: They do not.
        """
        left = self.limit - self.used
        if wanted > left:
            raise BudgetError(
                f"{sum_in_words} = {size(wanted)}, but of {size(self.limit)} (OFFBEAT_KEEPER_MEMORY_SHARE) "
                f"{size(self.used)} are taken and {size(max(left, 0))} left"
            )
        found = os.statvfs(self._directory)
        free = found.f_bavail * found.f_frsize
        if wanted > free:
            raise BudgetError(f"{sum_in_words} = {size(wanted)}, but {self._directory} has {size(free)} left")


def limit(share: float, *, meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return *share* of the memory this process may have, in bytes: the machine's, or its cgroup's if less."""
    total = next(int(line.split()[1]) << 10 for line in meminfo.read_text().splitlines() if line.startswith("MemTotal"))
    try:
        text = (cgroup / "memory.max").read_text().strip()
        total = min(total, int(text))
    except (OSError, ValueError):  # no cgroup of version 2 here, or no limit ("max")
        pass
    return int(total * share)


def size(nbytes: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, length in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= length:
            return f"{nbytes / length:.1f} {unit}"
    return f"{nbytes} B"
