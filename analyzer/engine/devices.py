"""What hardware says of itself: readings by device and metric, and events of drivers."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.analyzer.engine.columns import NONE, floats, ints, words
from offbeat.model import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

SECOND = 1_000_000_000
KEPT = 40
"""Readings kept of a metric; fewer than fit into the longest window of a rule, and it sees less."""
EVENTS = 50
"""Events kept of a device; a device that says more says nothing new."""
FLAGS = {
    "gpu_throttle_thermal", "gpu_throttle_power", "gpu_throttle_power_brake", "gpu_remapped_rows_pending",
    "gpu_remapped_rows_failure",
}  # fmt: skip
"""Metrics that are 0 while all is well."""
COUNTERS = {
    "gpu_ecc_uncorrectable_total", "gpu_pcie_replays_total", "gpu_nvlink_errors_total", "nic_symbol_errors_total",
    "nic_link_downed_total", "nic_link_integrity_errors_total", "nic_crc_errors_total", "nic_icrc_errors_total",
    "rx_errors",
}  # fmt: skip
"""Metrics that stand still while all is well."""
LEVELS = {
    "gpu_pcie_width": "gpu_pcie_width_max", "gpu_pcie_generation": "gpu_pcie_generation_max",
    "gpu_nvlinks_active": "gpu_nvlinks", "nic_speed_bps": "nic_speed_bps",
}  # fmt: skip
"""Metrics that are as high as another, or as they were, while all is well."""
OTHERS = {
    "gpu_temperature_celsius", "gpu_sm_clock_hz", "gpu_sm_clock_max_hz", "filesystem_free_bytes",
    "filesystem_total_bytes",
}  # fmt: skip
"""Metrics that the rules read besides."""
METRICS = {*FLAGS, *COUNTERS, *LEVELS, *LEVELS.values(), *OTHERS}
"""All that is kept here; the others are for people."""
FULL = 0.01
"""Share of a file system that is left when it counts as full."""


class Reading(NamedTuple):
    """A value and when it was read (Unix ns)."""

    at: int
    value: float


class Said(NamedTuple):
    """One event of a driver or of the kernel."""

    at: int
    kind: str
    code: int | None
    message: str


@dataclass(slots=True)
class DeviceFacts:
    """One device; `ranks` are those that were seen on it: (job, rank)."""

    device: Device
    ranks: set[tuple[str, int]] = field(default_factory=set)
    readings: dict[str, deque[Reading]] = field(default_factory=dict)
    events: deque[Said] = field(default_factory=lambda: deque(maxlen=EVENTS))
    odd_at: int = 0
    """When it last said anything that a healthy device does not say; thousands never do, and need no closer look."""

    def newest(self, metric: str) -> float | None:
        """Return the newest value of *metric*."""
        known = self.readings.get(metric)
        return known[-1].value if known else None

    def since(self, metric: str, at: int) -> list[Reading]:
        """Return the readings of *metric* from *at* (Unix ns) on, oldest first."""
        return [r for r in self.readings.get(metric, ()) if r.at >= at]

    def rise(self, metric: str, at: int) -> float:
        """Return by how much a counter has grown since *at* (Unix ns); one that went back began anew."""
        values = [r.value for r in self.since(metric, at)]
        return sum(b - a if b >= a else b for a, b in pairwise(values))

    def take(self, metric: str, at: int, value: float) -> None:
        """Take a reading; one that is older than the newest comes too late."""
        known = self.readings.get(metric)
        if known is None:
            known = self.readings[metric] = deque(maxlen=KEPT)
        before = known[-1] if known else None
        if before is not None and at <= before.at:
            return
        known.append(Reading(at, value))
        odd = metric in FLAGS and value > 0
        if metric in COUNTERS:
            odd = before is not None and value != before.value
        elif metric in LEVELS:
            odd = value < max((r.value for r in self.readings.get(LEVELS[metric], ())), default=0.0)
        elif metric == "filesystem_free_bytes":
            odd = value < FULL * (self.newest("filesystem_total_bytes") or 0.0)
        if odd:
            self.odd_at = at


class DeviceBook:
    """The devices of all hosts."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[tuple[str, str], DeviceFacts]] = defaultdict(dict)

    def of(self, host: str) -> Iterator[DeviceFacts]:
        """Yield the devices of *host*."""
        yield from self._hosts.get(host, {}).values()

    def get(self, host: str, kind: str, name: str) -> DeviceFacts:
        """Return the facts of a device, empty if it is new."""
        known = self._hosts[host]
        if (kind, name) not in known:
            known[kind, name] = DeviceFacts(Device(host, kind, name))
        return known[kind, name]

    def gauges(self, table: pa.Table) -> None:
        """Take readings."""
        metrics, which = words(table, "metric")
        wanted = np.isin(which, [k for k, name in enumerate(metrics) if name in METRICS])
        if not wanted.any():
            return
        hosts, host = words(table, "host")
        kinds, kind = words(table, "device_kind")
        names, name = words(table, "device_id")
        jobs, job = words(table, "job")
        at, value, rank = ints(table, "at"), floats(table, "value"), ints(table, "rank")
        for i in np.nonzero(wanted & np.isfinite(value))[0]:
            facts = self.get(hosts[host[i]], kinds[kind[i]], names[name[i]])
            facts.take(metrics[which[i]], int(at[i]), float(value[i]))
            if rank[i] != NONE:
                facts.ranks.add((jobs[job[i]], int(rank[i])))

    def event(self, row: dict[str, Any]) -> None:
        """Take one row of `events` that names a device."""
        if not row["device_kind"]:
            return
        facts = self.get(row["host"], row["device_kind"], row["device_id"] or "")
        facts.odd_at = max(facts.odd_at, row["at"])
        facts.events.append(Said(row["at"], row["kind"], row["code"], row["message"] or ""))
        if row["rank"] is not None:
            facts.ranks.add((row["job"] or "", row["rank"]))
