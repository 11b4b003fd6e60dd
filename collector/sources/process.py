"""The ranks' processes: processor time, time spent waiting for a processor, memory, faults, standstill."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs
from offbeat.collector.rows import Gauges
from offbeat.collector.schedule import Schedule
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks
from offbeat.collector.stillness import Stillness, StillnessTracker

if TYPE_CHECKING:
    import pyarrow as pa

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessSource:
    """Gauges of device kind `process`, one set a rank; counters are cumulative over all its threads."""

    name = "process"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        tracker: StillnessTracker,
        *,
        proc: Path = Path("/proc"),
        clock: Clock = time.time_ns,
    ) -> None:
        """Read all of *ranks*; *tracker* knows which of them stand still."""
        self._host = host
        self._ranks = ranks
        self._tracker = tracker
        self._proc = proc
        self._clock = clock
        self._schedules: dict[int, Schedule] = {}
        self._schedstat = False

    def is_supported(self) -> bool:
        """Say whether there is a `/proc` with processes."""
        self._schedstat = (self._proc / "self" / "schedstat").exists()
        return (self._proc / "self" / "stat").exists()

    def read(self) -> dict[str, pa.Table]:
        """Return one row a rank and metric.

        Raises:
            NoData: No rank is alive here.
        """
        ranks = [rank for rank in self._ranks() if rank.readable]
        self._forget_all_but({rank.pid for rank in ranks})
        gauges = Gauges(self._host, self._clock())
        seen = False
        for rank in ranks:
            try:
                values = self._values(rank)
            except (FileNotFoundError, ProcessLookupError):  # ended; the ring's reader says so
                continue
            gauges.add("process", values, device_id=str(rank.pid), rank=rank)
            seen = True
        if not seen:
            raise NoData
        return {"gauges": gauges.table()}

    def _values(self, rank: LocalRank) -> dict[str, float]:
        stat = procfs.Stat.parse(procfs.read(self._proc / str(rank.pid) / "stat"))
        state = self._tracker.state(rank.pid)
        values = {
            "cpu_seconds": stat.cpu_ticks / _TICKS,
            "rss_bytes": float(stat.rss_pages * _PAGE),
            "minor_faults": float(stat.minor_faults),
            "major_faults": float(stat.major_faults),
            "stopped": float(state is Stillness.STOPPED),
            "uninterruptible": float(state is Stillness.UNINTERRUPTIBLE),
        }
        if self._schedstat:
            schedule = self._schedules.setdefault(rank.pid, Schedule(rank.pid, self._proc))
            values["run_seconds"], values["wait_seconds"] = schedule.read()
        return values

    def _forget_all_but(self, pids: set[int]) -> None:
        for pid in self._schedules.keys() - pids:
            self._schedules.pop(pid).close()
