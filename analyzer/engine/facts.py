"""What is known of ranks and hosts besides their collectives: processes, exits, stacks, pressure, heartbeats."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine.columns import NONE, floats, ints, words
from offbeat.analyzer.engine.devices import DeviceBook

if TYPE_CHECKING:
    import pyarrow as pa

KEEP_NS = 60_000_000_000
"""How far back samples and gauges are kept; shorter than the longest window they explain, evidence is lost."""


@dataclass(slots=True)
class Rate:
    """A cumulative counter and how fast it moves."""

    points: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=90))

    def add(self, at: int, value: float) -> None:
        """Take a reading at *at* (ns); a counter that went back begins anew."""
        if self.points and (at <= self.points[-1][0] or value < self.points[-1][1]):
            if value < self.points[-1][1]:
                self.points.clear()
            else:
                return
        self.points.append((at, value))

    def per_second(self, since: int, until: int | None = None) -> float | None:
        """Return the mean rate between two times (ns), None with fewer than two readings there."""
        inside = [p for p in self.points if p[0] >= since and (until is None or p[0] <= until)]
        if len(inside) < 2:
            return None
        (t0, v0), (t1, v1) = inside[0], inside[-1]
        return (v1 - v0) / ((t1 - t0) / 1e9)


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a rank's process: code is its status, negative a signal, None unknown."""

    rank: int
    at: int
    code: int | None
    message: str
    received_at: int


@dataclass(slots=True)
class RankFacts:
    """One rank."""

    rank: int
    host: str = ""
    pid: int = NONE
    gpu: int | None = None
    nic: str | None = None
    rail: str | None = None
    leaf: str | None = None
    stage: int | None = None
    """Its pipeline stage, where the job says so."""
    heard_at: int = 0
    """When the service last received anything of this rank."""
    stopped: bool = False
    """Whether all its threads are stopped, or held in the kernel without getting any CPU."""
    exit: Exit | None = None
    exception: str = ""
    rates: dict[str, Rate] = field(default_factory=dict)
    samples: deque[tuple[int, str, str, int]] = field(default_factory=lambda: deque(maxlen=2000))

    def rate(self, metric: str, since: int, until: int | None = None) -> float | None:
        """Return how fast a process counter moved, per second."""
        return self.rates[metric].per_second(since, until) if metric in self.rates else None

    def time_in(self, since: int, until: int | None = None) -> tuple[dict[str, float], dict[str, float]]:
        """Return the shares of stack samples by kind, and by place, between two times (ns)."""
        kinds: Counter[str] = Counter()
        places: Counter[str] = Counter()
        for at, kind, where, n in self.samples:
            if at >= since and (until is None or at <= until):
                kinds[kind] += n
                # A stack without a frame of the program's own has no place worth telling.
                places[where] += n if where else 0
        total = sum(kinds.values())
        if not total:
            return {}, {}
        named = {k: v / total for k, v in places.most_common(5) if k}
        return {k: v / total for k, v in kinds.items()}, named


@dataclass(slots=True)
class HostFacts:
    """One host, as its agent tells it. `heard_at` is by the service's clock, everything else by the host's."""

    host: str
    heard_at: int = 0
    lag_ns: int = 0
    least_lag_ns: int = 1 << 62
    interval_ns: int = 1_000_000_000
    incarnation: int = 0
    addresses: frozenset[str] = frozenset()
    carrier_lost: dict[str, int] = field(default_factory=dict)
    """When each device last lost its carrier, also once it is back."""
    carrier_found: dict[str, int] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)

    def heard(self, at: int, received_at: int) -> None:
        """Note a heartbeat that the host made at *at*, by its own clock."""
        self.heard_at, self.lag_ns = received_at, received_at - at
        self.least_lag_ns = min(self.least_lag_ns, self.lag_ns)

    def behind(self, now: int) -> int:
        """Return how old the newest that is known of this host is at *now*, ns.

        That is the time since its last heartbeat came, and by how much that one took longer than the quickest, which
        holds whatever the two clocks say. A host that sends no heartbeats, as in a capture, is never behind.
        """
        return now - self.heard_at + self.lag_ns - self.least_lag_ns if self.heard_at else 0

    def without_carrier(self, since: int) -> dict[str, int]:
        """Return the devices that were without carrier at any time since *since* (ns), and when they lost it."""
        return {device: at for device, at in self.carrier_lost.items() if max(at, self._found(device, at)) >= since}

    def _found(self, device: str, lost_at: int) -> int:
        """Return when *device* got its carrier back; never, as a time, while it has not."""
        found = self.carrier_found.get(device, 0)
        return found if found > lost_at else 1 << 62

    def rate(self, metric: str, since: int) -> float | None:
        """Return how fast a host counter moved, per second."""
        return self.rates[metric].per_second(since) if metric in self.rates else None


@dataclass(slots=True)
class Hosts:
    """All hosts that report to this engine."""

    hosts: dict[str, HostFacts] = field(default_factory=dict)
    devices: DeviceBook = field(default_factory=DeviceBook)

    def get(self, host: str) -> HostFacts:
        """Return the facts of *host*, empty if it is new."""
        return self.hosts.setdefault(host, HostFacts(host))

    def heartbeats(self, table: pa.Table, received_at: int) -> None:
        """Take heartbeats."""
        for row in table.to_pylist():
            facts = self.get(row["host"])
            facts.heard(row["at"], received_at)
            facts.incarnation = max(facts.incarnation, row["incarnation"])
            facts.addresses = frozenset(row["addresses"] or ())
            facts.interval_ns = row["interval_ns"] or facts.interval_ns

    def gauges(self, table: pa.Table) -> None:
        """Take counters of hosts (rows without a rank) and readings of devices."""
        self.devices.gauges(table)
        hosts, index = words(table, "host")
        metrics, which = words(table, "metric")
        at, value, rank = ints(table, "at"), floats(table, "value"), ints(table, "rank")
        kinds, kind = words(table, "device_kind")
        for i in range(table.num_rows):
            if rank[i] == NONE and kinds[kind[i]] == "host" and np.isfinite(value[i]):
                rates = self.get(hosts[index[i]]).rates
                rates.setdefault(metrics[which[i]], Rate()).add(int(at[i]), float(value[i]))

    def event(self, row: dict[str, Any]) -> None:
        """Take what a device, or the kernel, said."""
        self.devices.event(row)
        facts, device = self.get(row["host"]), row["device_id"] or ""
        if row["kind"] == "carrier_lost":
            facts.carrier_lost[device] = row["at"]
        elif row["kind"] == "carrier_found":
            facts.carrier_found[device] = row["at"]

    def by_address(self, address: str) -> str | None:
        """Return the one host that has *address* (an IP), None when none or several do."""
        owners = [h.host for h in self.hosts.values() if address in h.addresses]
        return owners[0] if len(owners) == 1 else None
