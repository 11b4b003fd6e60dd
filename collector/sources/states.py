"""Ranks that stop and go on: `process_stopped` and `process_running` events within two polls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, NoData, Ranks
from offbeat.collector.stillness import Stillness, StillnessTracker

if TYPE_CHECKING:
    import pyarrow as pa

_EVENT = {Stillness.STOPPED: "process_stopped", Stillness.RUNNING: "process_running"}


class StatesSource:
    """Events of a rank that was stopped or frozen, and of one that goes on."""

    name = "states"
    sampled = False

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        tracker: StillnessTracker,
        *,
        proc: Path = Path("/proc"),
        clock: Clock = time.time_ns,
    ) -> None:
        """Look at all of *ranks* with *tracker*, which others may ask for what was found."""
        self._host = host
        self._ranks = ranks
        self._tracker = tracker
        self._proc = proc
        self._clock = clock
        self._stopped: set[int] = set()

    def is_supported(self) -> bool:
        """Say whether there is a `/proc` with processes."""
        return (self._proc / "self" / "stat").exists()

    def read(self) -> dict[str, pa.Table]:
        """Return the changes.

        Raises:
            NoData: Nothing changed.
        """
        now = self._clock()
        events = Events(self._host)
        ranks = [rank for rank in self._ranks() if rank.pid]
        pids = {rank.pid for rank in ranks}
        self._tracker.keep_only(pids)
        self._stopped &= pids
        for rank in ranks:
            try:
                change = self._tracker.look(rank.pid, now)
            except (OSError, ValueError):  # ended; the ring's reader says so
                continue
            if change is None:
                continue
            state, since = change
            if state is Stillness.STOPPED:
                self._stopped.add(rank.pid)
            elif rank.pid in self._stopped:
                self._stopped.discard(rank.pid)
                state = Stillness.RUNNING  # out of the stop, whatever it waits for now
            else:
                continue
            events.add(since, _EVENT[state], rank=rank, device_kind="process", device_id=str(rank.pid))
        if not events:
            raise NoData
        return {"events": events.table()}
