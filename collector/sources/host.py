"""The host as a whole: stall times (PSI), load, number of processors, memory, heat, disks."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import host_facts, procfs
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Gauges
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

SLOW_SECONDS = 5.0
"""How often memory, heat and disks are read; they tell a fault, not a moment."""
FILESYSTEMS = (Path("/"), Path("/dev/shm"))  # noqa: S108 - how full it is, for rings and data loaders live there
_RESOURCES = ("cpu", "memory", "io")


class HostSource:
    """Gauges of device kinds `host` and `disk`; pressures are cumulative seconds in which some task was held up."""

    name = "host"
    sampled = True

    def __init__(
        self,
        host: str,
        *,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        filesystems: Sequence[Path] = FILESYSTEMS,
        slow_seconds: float = SLOW_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Read the machine below *proc* and *sys*, and how full its local *filesystems* are."""
        self._host = host
        self._proc = proc
        self._sys = sys
        self._filesystems = filesystems
        self._slow = Pace(slow_seconds)
        self._clock = clock

    def is_supported(self) -> bool:
        """Say whether there is a load average, which every Linux has."""
        return (self._proc / "loadavg").exists()

    def read(self) -> dict[str, pa.Table]:
        """Return one row a metric; a kernel without PSI gives none for pressure.

        Raises:
            NoData: Nothing could be read.
        """
        values: dict[str, float] = {}
        for resource in _RESOURCES:
            pressure = self._pressure(resource)
            if pressure is not None:
                values[f"{resource}_pressure_seconds"] = pressure
        try:
            values["load1"] = float(procfs.read(self._proc / "loadavg").split()[0])
        except (OSError, ValueError, IndexError):
            pass
        else:
            values["cpus"] = float(os.cpu_count() or 1)
        devices: dict[str, dict[str, float]] = {}
        if self._slow.due():
            values |= host_facts.memory(self._proc) | host_facts.heat(self._sys)
            devices = host_facts.disks(self._proc) | host_facts.room(self._filesystems)
        if not values and not devices:
            raise NoData
        gauges = Gauges(self._host, self._clock())
        gauges.add("host", values)
        for name, found in devices.items():
            gauges.add("disk", found, device_id=name)
        return {"gauges": gauges.table()}

    def _pressure(self, resource: str) -> float | None:
        """Return the `some` total of ``/proc/pressure/<resource>`` in seconds."""
        try:
            line = procfs.read(self._proc / "pressure" / resource).split(b"\n", 1)[0]
            return int(line.rsplit(b"total=", 1)[1]) / 1e6
        except (OSError, ValueError, IndexError):
            return None
