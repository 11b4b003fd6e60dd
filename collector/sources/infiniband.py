"""RDMA adapters (InfiniBand and RoCE) from sysfs: state, speed, traffic, errors, and links that go down.

Counters: Documentation/ABI/stable/sysfs-class-infiniband and the adapters' own. A port is called as NCCL calls it,
such as `mlx5_0:1`.
"""

from __future__ import annotations

import csv
import functools
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs
from offbeat.collector.nic_changes import NicChanges
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    import pyarrow as pa

COUNTER_SECONDS = 5.0
"""How often counters are read; each costs a question to the adapter."""
ACTIVE, LINK_UP = 4, 5
MAX_PORTS = 128
_FILE = Path(__file__).parents[1] / "infiniband.csv"
_NUMBER = re.compile(rb"\s*(\d{1,20})\b")
_RATE = re.compile(rb"\s*(\d{1,6}(?:\.\d{1,3})?) Gb/sec")


@dataclass(slots=True)
class _Port:
    """What was last seen of a port; None while unknown."""

    up: bool | None = None
    ever_up: bool = False


class InfinibandSource:
    """Gauges and events of device kind `nic`."""

    name = "infiniband"
    sampled = True

    def __init__(
        self,
        host: str,
        *,
        sys: Path = Path("/sys"),
        counter_seconds: float = COUNTER_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Read the adapters below *sys*."""
        self._host = host
        self._root = sys / "class" / "infiniband"
        self._pace = Pace(counter_seconds)
        self._clock = clock
        self._ports: dict[str, _Port] = {}
        self._changes = NicChanges()

    def is_supported(self) -> bool:
        """Say whether there is an adapter."""
        return bool(self._found())

    def read(self) -> dict[str, pa.Table]:
        """Return the ports' gauges, and what changed since the last reading; the first look is no change.

        Raises:
            NoData: There is no adapter.
        """
        found = self._found()
        now = self._clock()
        events = Events(self._host)
        for name in self._ports.keys() - found.keys():
            self._changes.forget(name)
            if self._ports.pop(name).ever_up:
                events.add(now, "nic_gone", device_kind="nic", device_id=name, message=f"adapter port {name} is gone")
        gauges, with_counters = Gauges(self._host, now), self._pace.due()
        for name, folder in found.items():
            port = self._ports.setdefault(name, _Port())
            values = self._state(name, folder, port, events, now)
            if with_counters:
                values |= _counters(folder)
            if "nic_link_downed_total" in values:
                self._changes.downed(events, now, name, values["nic_link_downed_total"])
            gauges.add("nic", values, device_id=name)
        tables = {"gauges": gauges.table()} if found else {}
        if events:
            tables["events"] = events.table()
        if not tables:
            raise NoData
        return tables

    def _found(self) -> dict[str, Path]:
        """Return the folder of each port by its name."""
        ports: dict[str, Path] = {}
        for device in _names(self._root):
            folder = self._root / device / "ports"
            ports |= {f"{device}:{port}": folder / port for port in _names(folder)}
        return dict(list(ports.items())[:MAX_PORTS])

    def _state(self, name: str, folder: Path, port: _Port, events: Events, now: int) -> dict[str, float]:
        state, physical = _number(folder / "state"), _number(folder / "phys_state")
        if state is None:
            return {}
        up = state == ACTIVE and physical in {LINK_UP, None}
        if port.up is not None and up != port.up:
            kind = "carrier_found" if up else "carrier_lost"
            message = f"{name}: state {state:.0f}, physical state {physical or 0:.0f}"
            events.add(now, kind, device_kind="nic", device_id=name, message=message)
        port.up, port.ever_up = up, port.ever_up or up
        values = {"nic_port_state": state}
        if port.ever_up:  # a port without a cable is no fault
            values["carrier"] = float(up)
        speed = _speed(folder / "rate")
        if up and speed is not None:
            values["nic_speed_bps"] = speed
            self._changes.speed(events, now, name, speed)
        return values


@functools.cache
def _table() -> list[tuple[str, str, str, float]]:
    with _FILE.open(newline="", encoding="ascii") as file:
        return [(row["folder"], row["file"], row["metric"], float(row["factor"])) for row in csv.DictReader(file)]


def _counters(folder: Path) -> dict[str, float]:
    values = {}
    for kind, file, metric, factor in _table():
        value = _number(folder / kind / file)
        if value is not None:
            values[metric] = value * factor
    return values


def _names(folder: Path) -> list[str]:
    try:
        return sorted(procfs.names(folder))
    except OSError:
        return []


def _number(path: Path) -> float | None:
    found = _NUMBER.match(_read(path))
    return float(found[1]) if found else None


def _speed(path: Path) -> float | None:
    found = _RATE.match(_read(path))
    return float(found[1]) * 1e9 if found else None


def _read(path: Path) -> bytes:
    try:
        return procfs.read(path)
    except OSError:
        return b""
