"""The analyzer of a cluster: as many workers as wanted share the shards, and take over those of one that died.

A worker holds a lease on each of its shards and renews it. When it dies, is cut off or stands still, the lease runs out
and another takes the shard: it reads the newest telemetry back from segments, goes on in the stream where segments end,
and what the old one may still write is refused, because the lease changed hands.
"""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import structlog

from offbeat import metrics
from offbeat.analyzer.live import Analyzer
from offbeat.store import StoreError
from offbeat.store.shards import shard_of, topic

if TYPE_CHECKING:
    from offbeat.store import Bus, Lease, Store
    from offbeat.store.redis_group import GroupReader

LEASE_SECONDS = 10.0
"""How long a shard stays without findings when its worker dies; shorter, and a pause of the database costs shards."""
TICK_SECONDS = 1.0
"""How often leases are renewed and shards shared out; several times in a lease, as one renewal may fail."""
GROUP = "analyzer"

_held = metrics.gauge("offbeat_worker_shards")
_taken = metrics.counter("offbeat_worker_shards_taken_total")
_lost = metrics.counter("offbeat_worker_shards_lost_total")
_log = structlog.get_logger(__name__)


class ClusterBus(Protocol):
    """The bus that workers need: one that keeps messages until they are read."""

    def consume(self, topic: str, group: str, generation: int, *, since: int) -> GroupReader:
        """Read *topic* from what was published at *since* (ns) on."""

    def reached(self) -> int:
        """Return the time (ns) before which all that was published is in segments."""


@dataclass(slots=True)
class _Shard:
    lease: Lease
    analyzer: Analyzer
    reader: GroupReader


class Worker:
    """Holds its share of the shards, and analyzes their jobs."""

    def __init__(
        self, store: Store, bus: Bus, cluster: ClusterBus, shards: int, *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Prepare to work.

        Args:
            store: Where telemetry is read back from, and findings go; its data directory is shared by all.
            bus: Where changes are told.
            cluster: Where telemetry comes from; the same bus.
            shards: How many there are, the same for all workers and replicas.
            lease_seconds: How long a lease lasts without being renewed.
        """
        self._store, self._bus, self._cluster, self._shards = store, bus, cluster, shards
        self._seconds, self._tick = lease_seconds, min(TICK_SECONDS, lease_seconds / 5)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._alive: Lease | None = None
        self._mine: dict[int, _Shard] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    @property
    def shards(self) -> frozenset[int]:
        """The shards it holds now."""
        return frozenset(self._mine)

    def start(self) -> None:
        """Begin to take shards."""
        self._thread.start()

    def stop(self) -> None:
        """Give every shard back; others take them at once."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._keep()
                self._share()
            except StoreError as error:
                # Findings wait in memory; what is written after a lease ran out is refused by the fence.
                _log.warning("leases cannot be renewed", error=str(error))
            except Exception:  # noqa: BLE001 - one failing shard must not end the others
                _log.exception("worker: one step failed")
            _held.set(len(self._mine))
            self._stop.wait(self._tick)
        for shard in list(self._mine):
            self._drop(shard, "ending")
        if self._alive is not None:
            self._release(self._alive)

    def _keep(self) -> None:
        """Say that this worker lives, and renew what it holds."""
        if self._alive is None or not self._store.leases.renew(self._alive, self._seconds):
            self._alive = self._store.leases.acquire(f"worker:{self.name}", self.name, self._seconds)
        for number, shard in list(self._mine.items()):
            if shard.analyzer.fenced or not self._store.leases.renew(shard.lease, self._seconds):
                _lost.inc()
                self._drop(number, "another worker has it")
            elif shard.reader.broken:
                # Its windows have a hole; segments have none.
                self._drop(number, "messages were missed", release=False)
                self._begin(number, shard.lease)

    def _share(self) -> None:
        """Take free shards up to this worker's share, or give some back."""
        holders = self._store.leases.holders()
        workers = max(1, sum(name.startswith("worker:") for name in holders))
        share = -(-self._shards // workers)
        for number in sorted(self._mine)[share:]:
            self._drop(number, "others have room")
        # Each worker begins elsewhere, so that those who start together do not want the same shard first.
        offset = shard_of(self.name, self._shards)
        for number in [(offset + n) % self._shards for n in range(self._shards)]:
            if len(self._mine) >= share:
                return
            if number in self._mine or _name(number) in holders:
                continue
            lease = self._store.leases.acquire(_name(number), self.name, self._seconds)
            if lease is not None:
                self._begin(number, lease)

    def _begin(self, number: int, lease: Lease) -> None:
        # Asked before segments are read: what becomes a segment in between is seen twice, which does no harm.
        since = self._cluster.reached()
        reader = self._cluster.consume(topic(number), GROUP, lease.fence, since=since)
        analyzer = Analyzer(
            self._store.fenced(lease),
            self._bus,
            subscribe=lambda: reader,
            mine=lambda job: shard_of(job, self._shards) == number,
        )
        analyzer.start()
        self._mine[number] = _Shard(lease, analyzer, reader)
        _taken.inc()
        _log.info("shard taken", shard=number, fence=lease.fence)

    def _drop(self, number: int, why: str, *, release: bool = True) -> None:
        shard = self._mine.pop(number)
        shard.analyzer.stop()
        if release:
            self._release(shard.lease)
        _log.info("shard given up", shard=number, why=why)

    def _release(self, lease: Lease) -> None:
        try:
            self._store.leases.release(lease)
        except StoreError as error:
            _log.warning("lease not given back; it runs out", lease=lease.name, error=str(error))


def _name(shard: int) -> str:
    return f"shard:{shard}"
