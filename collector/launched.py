"""What the sources of launchers share: who the ranks are, told when new and now and then, and their cgroups' limits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offbeat import records
from offbeat.collector.launches import Launch, Launches, cgroup_path, cgroup_values, job_rows
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Gauges
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks

if TYPE_CHECKING:
    import pyarrow as pa

POLL_SECONDS = 5.0
TELL_AGAIN_SECONDS = 30.0
"""How often identities are sent again; without it a service that starts anew never learns them."""


class Launched:
    """Reads the ranks that one launcher started; a launcher says by `name_of` which are its own."""

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        *,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        poll_seconds: float = POLL_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Look at *ranks* below *proc*, and at cgroups below *sys*."""
        self._host = host
        self._proc = proc
        self._sys = sys
        self._launches = Launches(ranks, proc)
        self._pace = Pace(poll_seconds)
        self._clock = clock
        self._told: dict[LocalRank, float] = {}

    def is_supported(self) -> bool:
        """Say whether variables of processes can be read at all."""
        return (self._proc / "self").exists()

    def name_of(self, launch: Launch) -> str | None:
        """Return what the launcher calls the job of a rank, None if the rank is not its own."""
        raise NotImplementedError

    def read(self) -> dict[str, pa.Table]:
        """Return who the launcher's ranks are, and what their cgroups denied them.

        Raises:
            NoData: None is alive here, or it is not time.
        """
        if not self._pace.due():
            raise NoData
        named = [(launch, name) for launch in self._launches.read() if (name := self.name_of(launch)) is not None]
        if not named:
            raise NoData
        gauges, now = Gauges(self._host, self._clock()), time.monotonic()
        alive = {launch.rank for launch, _ in named}
        self._told = {rank: at for rank, at in self._told.items() if rank in alive}
        rows: dict[str, list[dict[str, Any]]] = {}
        seen = False
        for launch, name in named:
            path = cgroup_path(launch.rank.pid, self._proc)
            values = cgroup_values(path, self._sys / "fs" / "cgroup") if path else {}
            gauges.add("process", values, device_id=str(launch.rank.pid), rank=launch.rank)
            seen = seen or bool(values)
            if now - self._told.get(launch.rank, float("-inf")) >= TELL_AGAIN_SECONDS:
                self._told[launch.rank] = now
                for table, row in job_rows(launch, name, self._host).items():
                    rows.setdefault(table, []).append(row)
        tables = {table: _table(table, found) for table, found in rows.items()}
        if seen:
            tables["gauges"] = gauges.table()
        if not tables:
            raise NoData
        return tables


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return records.build(name, {column: [row[column] for row in rows] for column in rows[0]})
