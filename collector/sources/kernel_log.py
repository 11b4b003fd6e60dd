"""The kernel's log (`/dev/kmsg`): XIDs, memory and bus errors, killed and hung processes, links that go down.

Format: Documentation/ABI/testing/dev-kmsg. Records that programs wrote into the log are left out, so nobody can speak
for the kernel.
"""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import kernel_lines
from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

HISTORY_SECONDS = 60.0
"""How old a record may be when the agent starts: an error that made it restart is told, one of last week is not."""
REPEAT_SECONDS = 10.0
"""Shortest time between two events of one kind, device and code; a broken bus writes thousands of lines a second."""
MAX_RECORDS = 2000
"""Records read at once; the rest waits for the next poll."""
_RECORD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,18}),[^;]*;(.*)")
_READ = 1 << 16
_KERNEL = 8
"""Priorities below are of facility 0, the kernel itself."""
_MAX_KEYS = 1000


class KernelLogSource:
    """Events, each with the kernel's own line as its message."""

    name = "kernel_log"
    sampled = False

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        *,
        gpus: Callable[[], Mapping[str, str]] = dict,
        path: Path = Path("/dev/kmsg"),
        clock: Clock = time.time_ns,
        since_boot: Clock = time.monotonic_ns,
    ) -> None:
        """Read the log at *path*.

        Args:
            host: This host.
            ranks: Those alive here: a killed or hung one is named by its rank.
            gpus: PCI address → index, where somebody knows; else a GPU is called by its address.
            path: The log.
            clock: Unix ns.
            since_boot: The clock of the records' times, ns.
        """
        self._host = host
        self._ranks = ranks
        self._gpus = gpus
        self._path = path
        self._clock = clock
        self._since_boot = since_boot
        self._file: int | None = None
        self._oldest = 0
        self._told: dict[tuple[object, ...], tuple[int, int]] = {}

    def is_supported(self) -> bool:
        """Say whether the log may be read, which takes root or a kernel that does not restrict it."""
        try:
            self._open()
        except OSError:
            return False
        return True

    def read(self) -> dict[str, pa.Table]:
        """Return what the log says since the last reading.

        Raises:
            NoData: Nothing that matters.
        """
        if self._file is None:
            try:
                self._open()
            except OSError as error:
                raise NoData from error
        now, boot = self._clock(), self._since_boot()
        events = Events(self._host)
        for at, text in self._records():
            if at < self._oldest:
                continue
            fact = kernel_lines.read(text)
            if fact is not None:
                self._tell(events, fact, min(now, now - (boot - at)), at)
        if not events:
            raise NoData
        return {"events": events.table()}

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._oldest = self._since_boot() - int(HISTORY_SECONDS * 1e9)

    def _records(self) -> Iterator[tuple[int, str]]:
        """Yield (ns since boot, text) of the records not yet read that the kernel itself wrote."""
        for _ in range(MAX_RECORDS):
            try:
                data = os.read(self._file, _READ) if self._file is not None else b""
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EPIPE, errno.EINVAL}:  # overwritten before we came, or too long
                    continue
                self.close()
                raise
            if not data:
                return
            for line in data.split(b"\n"):
                found = _RECORD.match(line)  # continuation lines begin with a space
                if found and int(found[1]) < _KERNEL:
                    yield int(found[3]) * 1000, found[4].decode("ascii", "replace")

    def _tell(self, events: Events, fact: kernel_lines.Fact, at: int, boot: int) -> None:
        key = (fact.kind, fact.device_id, fact.code)
        last, left_out = self._told.get(key, (None, 0))
        if last is not None and abs(boot - last) < REPEAT_SECONDS * 1e9:
            self._told[key] = (last, left_out + 1)
            return
        if len(self._told) >= _MAX_KEYS:
            self._told.clear()
        self._told[key] = (boot, 0)
        more = f" (and {left_out} like it since the last)" if left_out else ""
        device_kind, device_id = fact.device_kind, fact.device_id
        if device_id is not None and device_kind in {"gpu", "pci"}:
            index = self._gpus().get(device_id)
            if index is not None:
                device_kind, device_id = "gpu", index
        events.add(
            at,
            fact.kind,
            rank=self._rank(fact),
            device_kind=device_kind,
            device_id=device_id,
            code=fact.code,
            message=fact.message + more,
        )

    def _rank(self, fact: kernel_lines.Fact) -> LocalRank | None:
        if fact.device_kind != "process":
            return None
        return next((rank for rank in self._ranks() if str(rank.pid) == fact.device_id and rank.pid), None)
