"""Torch's Flight Recorder: dump files as they appear, and dumps pulled from the ranks' worker servers before that.

Only how far each group came is read here; `offbeat diagnose` reads the files themselves and names the culprit.
"""

from __future__ import annotations

import os
import stat
import time
from glob import iglob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import flight_dump
from offbeat.collector.exchange import Address, Exchange, http_body, http_request
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks

if TYPE_CHECKING:
    import pyarrow as pa

LOOK_SECONDS = 2.0
"""How often to look for files; one is read when its size did not change between two looks."""
PULL_SECONDS = 30.0
"""How often each worker server is asked; an answer of a full recorder is a megabyte."""
ANSWER_SECONDS = 10.0
MAX_FILES = 1024
MAX_BYTES = 32 << 20
MAX_WORKERS = 64
_PULL = "/handler/fr_trace_json"


class FlightRecorderSource:
    """Events for dump files; gauges of device kind `communicator`, device id the group's name, for every dump."""

    name = "flight_recorder"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        files: str,
        workers: str = "",
        *,
        look_seconds: float = LOOK_SECONDS,
        pull_seconds: float = PULL_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Watch *files* and pull from *workers*; both may be empty.

        Args:
            host: This host.
            ranks: Those alive here.
            files: Patterns of dump files, joined by `:`.
            workers: Worker servers: patterns of paths of Unix sockets, or addresses, joined by commas.
            look_seconds: How often to look for files.
            pull_seconds: How often to ask each server.
            clock: Unix ns.

        Raises:
            ValueError: An address is none.
        """
        self._host = host
        self._ranks = ranks
        self._patterns = [pattern for pattern in files.split(":") if pattern]
        words = [word.strip() for word in workers.split(",") if word.strip()]
        self._sockets = [word for word in words if word.startswith("/")]
        self._servers = [Address.parse(word) for word in words if not word.startswith("/")]
        self._look, self._pull = Pace(look_seconds), Pace(pull_seconds)
        self._clock = clock
        self._seen: dict[Path, tuple[int, int]] = {}
        self._done: dict[Path, tuple[int, int]] = {}
        self._started = False
        self._asking: list[tuple[Address, Exchange]] = []

    def is_supported(self) -> bool:
        """Say whether there is anything to watch or ask."""
        return bool(self._patterns or self._sockets or self._servers)

    def read(self) -> dict[str, pa.Table]:
        """Return what new dumps say.

        Raises:
            NoData: There are none.
        """
        now = self._clock()
        gauges, events = Gauges(self._host, now), Events(self._host)
        found = self._file(gauges, events, now)
        found = self._answers(gauges) or found
        tables = {"gauges": gauges.table()} if found else {}
        if events:
            tables["events"] = events.table()
        if not tables:
            raise NoData
        return tables

    def _file(self, gauges: Gauges, events: Events, now: int) -> bool:
        """Read the next dump file that is whole: one at a time, for a large one takes a while."""
        if self._look.due():
            self._find()
        path = next((path for path, version in self._seen.items() if self._done.get(path) == (-1, version[1])), None)
        if path is None:
            return False
        self._done[path] = self._seen[path]
        number = flight_dump.rank_of(path.name)
        rank = next((rank for rank in self._ranks() if rank.rank == number), None)
        try:
            groups = flight_dump.read(_content(path))
        except (OSError, ValueError) as error:
            message = f"{path}: {error}"
            events.add(now, "flight_recorder_unreadable", rank=rank, device_kind="process", message=message)
            return False
        waiting: list[flight_dump.Group | None] = [group for group in groups if group.unfinished]
        for group in waiting or [None]:
            what = "nothing is unfinished" if group is None else _describe(group)
            events.add(
                now,
                "flight_recorder_dump",
                rank=rank,
                device_kind="communicator" if group else "process",
                device_id=group.name if group else None,
                code=group.first if group else None,
                message=f"{path} (rank {number}): {what}",
            )
        return _fill(gauges, groups, rank)

    def _find(self) -> None:
        """Look at all files: one that changed is done once it stays as it is; those there at the start are old."""
        seen: dict[Path, tuple[int, int]] = {}
        for pattern in self._patterns:
            for name in islice(iglob(pattern, recursive=True), MAX_FILES):  # noqa: PTH207 - patterns may be absolute
                try:
                    about = os.lstat(name)
                except OSError:
                    continue
                if stat.S_ISREG(about.st_mode) and len(seen) < MAX_FILES:
                    seen[Path(name)] = (about.st_size, about.st_mtime_ns)
        if not self._started:
            self._done = dict(seen)
        self._started = True
        for path, version in seen.items():
            if self._done.get(path) != version and self._seen.get(path) == version:
                self._done[path] = (-1, version[1])  # whole, to be read
        self._done = {path: version for path, version in self._done.items() if path in seen}
        self._seen = seen

    def _answers(self, gauges: Gauges) -> bool:
        """Ask all servers if it is time, and take the answers that are there."""
        if not self._asking and (self._sockets or self._servers) and self._pull.due():
            self._ask()
        found, still = False, []
        for address, exchange in self._asking:
            try:
                answer = exchange.poll()
                if answer is None:
                    still.append((address, exchange))
                    continue
                groups = flight_dump.read(http_body(answer))
            except (OSError, ValueError):  # its job is gone, or it has nothing recorded
                continue
            pid = exchange.peer
            rank = next((rank for rank in self._ranks() if rank.pid == pid), None) if pid else None
            found = _fill(gauges, groups, rank) or found
        self._asking = still
        return found

    def _ask(self) -> None:
        sockets = (name for pattern in self._sockets for name in iglob(pattern))  # noqa: PTH207 - may be absolute
        addresses = [*self._servers, *(Address(name) for name in islice(sockets, MAX_WORKERS))]
        request = http_request("POST", _PULL, "localhost")
        for address in addresses[:MAX_WORKERS]:
            try:
                exchange = Exchange(address, request, seconds=ANSWER_SECONDS, limit=MAX_BYTES)
            except OSError:
                continue
            self._asking.append((address, exchange))


def _fill(gauges: Gauges, groups: list[flight_dump.Group], rank: LocalRank | None) -> bool:
    for group in groups:
        values = {"flight_recorder_unfinished": float(group.unfinished)}
        if group.enqueued >= 0:
            values["flight_recorder_enqueued"] = float(group.enqueued)
        if group.completed >= 0:
            values["flight_recorder_completed"] = float(group.completed)
        gauges.add("communicator", values, device_id=group.name, rank=rank)
    return bool(groups)


def _describe(group: flight_dump.Group) -> str:
    return (
        f"group {group.name}: {group.unfinished} unfinished, the first {group.op} {group.first} ({group.state}); "
        f"last enqueued {group.enqueued}, last completed {group.completed}"
    )


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > MAX_BYTES:
            raise ValueError(f"a dump of {size >> 20} MiB")
        return file.read(MAX_BYTES)
