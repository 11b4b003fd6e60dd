"""The agent itself: that it runs, whom it sees alive, where its host can be reached."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from offbeat import records
from offbeat.collector.addresses import Address, host_addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.collector.source import Clock, Ranks


class HeartbeatSource:
    """One row of `heartbeats` for each job that has ranks here; one without a job where there is none."""

    name = "heartbeat"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        *,
        incarnation: Callable[[], int],
        overwritten: Callable[[], int],
        lost_batches: Callable[[], int],
        interval_ns: int,
        addresses: Callable[[], list[Address]] = host_addresses,
        clock: Clock = time.time_ns,
    ) -> None:
        """Tell of *ranks*; the next beat comes after *interval_ns*."""
        self._host = host
        self._ranks = ranks
        self._incarnation = incarnation
        self._overwritten = overwritten
        self._lost_batches = lost_batches
        self._interval_ns = interval_ns
        self._addresses = addresses
        self._clock = clock

    def is_supported(self) -> bool:
        """Say yes."""
        return True

    def read(self) -> dict[str, pa.Table]:
        """Return the beat; an agent that cannot learn its addresses beats without them."""
        try:
            addresses = sorted({address.text for address in self._addresses()})
        except OSError:
            addresses = []
        alive: dict[tuple[str | None, int | None], list[int]] = {}
        for rank in self._ranks():
            if rank.rank >= 0:
                alive.setdefault((rank.job, rank.attempt), []).append(rank.rank)
        jobs = alive or {(None, None): []}
        rows = len(jobs)
        columns = {
            "job": [job for job, _ in jobs],
            "attempt": [attempt for _, attempt in jobs],
            "at": [self._clock()] * rows,
            "host": [self._host] * rows,
            "incarnation": [self._incarnation()] * rows,
            "ranks": [sorted(ranks) for ranks in jobs.values()],
            "addresses": [addresses] * rows,
            "interval_ns": [self._interval_ns] * rows,
            "overwritten": [self._overwritten()] * rows,
            "lost_batches": [self._lost_batches()] * rows,
        }
        return {"heartbeats": records.build("heartbeats", columns)}
