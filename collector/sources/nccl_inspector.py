"""NCCL Inspector's logs, followed while they grow: finished operations of processes that have no ring.

A process with a ring is left out, for its own recorder says more: starts, and what never finishes. Whose an operation
is comes from the variables of its process, so logs of other hosts are left to the agents there.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offbeat import records
from offbeat.collector.identity import Identity, identity, variables
from offbeat.collector.inspector_lines import Operation, Reader
from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, NoData, Ranks
from offbeat.collector.tail import LOOK_SECONDS, Tail

if TYPE_CHECKING:
    import pyarrow as pa

TELL_AGAIN_NS = 30_000_000_000
"""How often memberships are sent again; without it a service that starts anew never learns them."""
BITE = 1 << 20
"""Bytes of one log at one reading: about 1,700 operations a second."""
MAX_ROWS = 50_000
_MAX_MEMBERSHIPS = 4096


class NcclInspectorSource:
    """Rows of `collectives`, `memberships`, `ranks` and `jobs`; events where Inspector lost operations."""

    name = "nccl_inspector"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        files: str,
        *,
        proc: Path = Path("/proc"),
        look_seconds: float = LOOK_SECONDS,
        clock: Clock = time.time_ns,
    ) -> None:
        """Follow *files*, patterns joined by `:`, such as `/logs/nccl-inspector-*/*.log`; empty for none."""
        self._host = host
        self._ranks = ranks
        self._tail = Tail(files, look_seconds=look_seconds, bite=BITE)
        self._proc = proc
        self._clock = clock
        self._own = {name.split(".")[0].lower() for name in (host, socket.gethostname())}
        self._readers: dict[Path, Reader] = {}
        self._dropped: dict[Path, int] = {}
        self._who: dict[int, Identity | None] = {}
        self._told: dict[tuple[int, str], int] = {}

    def is_supported(self) -> bool:
        """Say whether there are files to follow."""
        return bool(self._tail)

    def read(self) -> dict[str, pa.Table]:
        """Return the operations in new lines.

        Raises:
            NoData: There are none.
        """
        now = self._clock()
        recorded = {rank.pid for rank in self._ranks()}
        rows: dict[str, list[dict[str, Any]]] = {"jobs": [], "ranks": [], "memberships": [], "collectives": []}
        for path, line, old in self._tail.lines():
            reader = self._readers.setdefault(path, Reader())
            try:
                operation = reader.read(line)
            except ValueError:
                continue
            if operation is None or old or reader.pid in recorded or len(rows["collectives"]) >= MAX_ROWS:
                continue
            who = self._identity(reader)
            if who is not None:
                self._tell(rows, reader.pid, who, operation, now)
                rows["collectives"].append(_row(who, operation, now))
        events = self._losses(now)
        tables = {name: _table(name, found) for name, found in rows.items() if found}
        if events:
            tables["events"] = events.table()
        if not tables:
            raise NoData
        return tables

    def _identity(self, reader: Reader) -> Identity | None:
        """Return whose a log is; what a process said is kept, for it may end before its last lines are read."""
        if reader.host.split(".")[0].lower() not in self._own or reader.pid <= 0:
            return None
        if reader.pid not in self._who:
            if len(self._who) >= _MAX_MEMBERSHIPS:
                self._who.clear()
            try:
                self._who[reader.pid] = identity(variables(reader.pid, self._proc))
            except OSError:
                self._who[reader.pid] = None
        return self._who[reader.pid]

    def _tell(
        self, rows: dict[str, list[dict[str, Any]]], pid: int, who: Identity, operation: Operation, now: int
    ) -> None:
        key = (pid, operation.comm)
        if now - self._told.get(key, -TELL_AGAIN_NS) < TELL_AGAIN_NS:
            return
        if len(self._told) >= _MAX_MEMBERSHIPS:
            self._told.clear()
        self._told[key] = now
        own = {"job": who.job, "attempt": who.attempt}
        if who.world > 0:
            rows["jobs"].append(own | {"world": who.world, "simulated": False})
        rows["ranks"].append(own | {"rank": who.rank, "host": self._host, "pid": pid})
        rows["memberships"].append(
            own
            | {
                "comm": operation.comm,
                "comm_rank": operation.place,
                "n_ranks": operation.size,
                "rank": who.rank,
                "host": self._host,
                "pid": pid,
                "name": operation.name,
            }
        )

    def _losses(self, now: int) -> Events:
        followed = set(self._tail.paths())
        self._readers = {path: reader for path, reader in self._readers.items() if path in followed}
        events = Events(self._host)
        for path, reader in self._readers.items():
            before = self._dropped.get(path, 0)
            if reader.dropped > before:
                message = f"Inspector lost {reader.dropped - before} operations of process {reader.pid}"
                events.add(
                    now,
                    "nccl_inspector_dropped",
                    device_kind="process",
                    device_id=str(reader.pid),
                    code=reader.dropped - before,
                    message=message,
                )
        self._dropped = {path: reader.dropped for path, reader in self._readers.items()}
        return events


def _row(who: Identity, operation: Operation, now: int) -> dict[str, Any]:
    pairwise = operation.op in {"send", "recv"}
    same = operation.size == who.world and operation.place == who.rank  # then places are global ranks
    return {
        "job": who.job,
        "attempt": who.attempt,
        "comm": operation.comm,
        "rank": who.rank,
        "fn_seq": None if pairwise else operation.number,
        "p2p_seq": operation.number if pairwise else None,
        "op": operation.op,
        "native_op": operation.native,
        "peer": operation.peer if same else None,
        "nbytes": operation.nbytes,
        "state": "completed",
        "started_at": operation.started_at,
        "ended_at": operation.ended_at,
        "duration_ns": operation.duration_ns,
        "observed_at": operation.seen_at or now,
        "clock": "gpu" if operation.on_gpu else "cpu",
        "source": "nccl_inspector",
    }


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return records.build(name, {column: [row[column] for row in rows] for column in rows[0]})
