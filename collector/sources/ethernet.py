"""What drivers of network adapters count beyond the kernel's own: link errors, pauses, PCIe, rented bandwidth.

The same that `ethtool -S` shows, under names that are the same for all drivers.
"""

from __future__ import annotations

import csv
import functools
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs
from offbeat.collector.ethtool import Ethtool
from offbeat.collector.nic_changes import NicChanges
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

POLL_SECONDS = 5.0
"""How often drivers are asked; some ask the adapter in turn, which takes them milliseconds."""
MAX_INTERFACES = 64
_FILE = Path(__file__).parents[1] / "ethernet.csv"


@dataclass(slots=True)
class _Driver:
    """What an interface's driver counts: how many, and the places of those that a metric sums."""

    count: int
    places: dict[str, list[int]] = field(default_factory=dict)


class EthernetSource:
    """Gauges and events of device kind `nic`; counters are cumulative."""

    name = "ethernet"
    sampled = True

    def __init__(
        self,
        host: str,
        interfaces: Callable[[], Sequence[str]],
        *,
        sys: Path = Path("/sys"),
        connect: Callable[[], Ethtool] = Ethtool,
        poll_seconds: float = POLL_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Ask about *interfaces*, and about those of RDMA adapters below *sys*."""
        self._host = host
        self._interfaces = interfaces
        self._rdma = sys / "class" / "infiniband"
        self._connect = connect
        self._pace = Pace(poll_seconds)
        self._clock = clock
        self._ethtool: Ethtool | None = None
        self._drivers: dict[str, _Driver] = {}
        self._changes = NicChanges()

    def is_supported(self) -> bool:
        """Say whether drivers can be asked."""
        try:
            self._ethtool = self._connect()
        except OSError:
            return False
        return True

    def read(self) -> dict[str, pa.Table]:
        """Return what the drivers count, and what changed since the last reading.

        Raises:
            NoData: It is not time, or no driver counts anything.
        """
        if self._ethtool is None or not self._pace.due():
            raise NoData
        now = self._clock()
        gauges, events, seen = Gauges(self._host, now), Events(self._host), False
        names = sorted({*self._interfaces(), *self._of_rdma()})[:MAX_INTERFACES]
        for name in names:
            values = self._values(self._ethtool, name)
            if "nic_link_downed_total" in values:
                self._changes.downed(events, now, name, values["nic_link_downed_total"])
            if "nic_speed_bps" in values:
                self._changes.speed(events, now, name, values["nic_speed_bps"])
            gauges.add("nic", values, device_id=name)
            seen = seen or bool(values)
        self._drivers = {name: driver for name, driver in self._drivers.items() if name in names}
        if not seen:
            raise NoData
        tables = {"gauges": gauges.table()}
        return tables | ({"events": events.table()} if events else {})

    def _values(self, ethtool: Ethtool, name: str) -> dict[str, float]:
        values: dict[str, float] = {}
        try:
            driver = self._drivers.get(name)
            if driver is None:
                driver = self._drivers[name] = read_names(ethtool.names(name))
            if driver.places:
                counters = ethtool.values(name, driver.count)
                values |= {metric: float(sum(counters[i] for i in places)) for metric, places in driver.places.items()}
        except OSError:  # gone, or its driver was loaded anew
            self._drivers.pop(name, None)
        try:
            speed = ethtool.speed(name)
        except OSError:
            speed = None
        return values if speed is None else values | {"nic_speed_bps": speed}

    def _of_rdma(self) -> list[str]:
        """Return the interfaces of RDMA adapters, which carry no TCP and hence are nobody's otherwise."""
        found = []
        for device in _names(self._rdma):
            found += _names(self._rdma / device / "device" / "net")
        return found


def read_names(names: Sequence[str]) -> _Driver:
    """Return which of a driver's counters, called *names*, make up which metric."""
    driver = _Driver(len(names))
    for place, name in enumerate(names):
        metric = next((metric for pattern, metric in _table() if pattern.fullmatch(name)), None)
        if metric is not None:
            driver.places.setdefault(metric, []).append(place)
    return driver


@functools.cache
def _table() -> list[tuple[re.Pattern[str], str]]:
    with _FILE.open(newline="", encoding="ascii") as file:
        return [(re.compile(row["pattern"], re.ASCII), row["metric"]) for row in csv.DictReader(file)]


def _names(folder: Path) -> list[str]:
    try:
        return procfs.names(folder)
    except OSError:
        return []
