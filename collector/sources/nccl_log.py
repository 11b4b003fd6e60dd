"""Logs of NCCL (`NCCL_DEBUG`) and torch: which GPU and adapter a rank uses, and what they complain about.

Lines of other hosts, as logs on a shared disk hold them, are left to those hosts' agents.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offbeat import records
from offbeat.collector import nccl_lines
from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks
from offbeat.collector.tail import Tail

if TYPE_CHECKING:
    import pyarrow as pa

REPEAT_SECONDS = 60.0
"""Shortest time between two events of one process with the same words, numbers aside."""
MAX_EVENTS = 200
"""Events of one reading; a job that fails says the same thousands of times."""
_MAX_PROCESSES = 1024
_MAX_TOLD = 2000
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


@dataclass(slots=True)
class _Process:
    """What a process has said of itself."""

    gpu: int | None = None
    nics: dict[int, str] = field(default_factory=dict)
    nic: str | None = None
    told: tuple[object, ...] | None = None


class NcclLogSource:
    """Events of ranks, and rows of `ranks` with GPU and adapter."""

    name = "nccl_log"
    sampled = True

    def __init__(
        self, host: str, ranks: Ranks, files: str, *, look_seconds: float | None = None, clock: Clock = time.time_ns
    ) -> None:
        """Follow *files*: patterns joined by `:`; empty for none."""
        self._host = host
        self._ranks = ranks
        self._tail = Tail(files) if look_seconds is None else Tail(files, look_seconds=look_seconds)
        self._clock = clock
        self._own = {name.split(".")[0].lower() for name in (host, socket.gethostname())}
        self._processes: dict[int, _Process] = {}
        self._told: dict[tuple[object, ...], float] = {}

    def is_supported(self) -> bool:
        """Say whether there are files to follow."""
        return bool(self._tail)

    def read(self) -> dict[str, pa.Table]:
        """Return what new lines say.

        Raises:
            NoData: Nothing that matters.
        """
        events, count = Events(self._host), 0
        ranks = {rank.pid: rank for rank in self._ranks() if rank.readable}
        numbers = {rank.rank: rank for rank in ranks.values()}
        for _, text, old in self._tail.lines():
            line = nccl_lines.read(text)
            if line is None:
                fault = nccl_lines.torch_fault(text)
                rank = numbers.get(fault.rank) if fault and fault.rank is not None else None
                if rank is None and numbers:
                    continue
                pid = fault.rank if fault else None
            elif line.host.split(".")[0].lower() in self._own:
                self._learn(line)
                fault, rank, pid = nccl_lines.fault(line), ranks.get(line.pid), line.pid
            else:
                continue
            if fault is None or old or count >= MAX_EVENTS or self._again(fault, pid):
                continue
            count += 1
            events.add(
                self._clock(),
                fault.kind,
                rank=rank,
                device_kind="nic" if fault.nic else "process",
                device_id=fault.nic or (str(rank.pid) if rank else str(pid)),
                code=fault.code,
                message=fault.message,
            )
        tables = {"events": events.table()} if events else {}
        owned = self._identities(ranks)
        if owned:
            tables["ranks"] = records.build("ranks", {column: [row[column] for row in owned] for column in owned[0]})
        if not tables:
            raise NoData
        return tables

    def _learn(self, line: nccl_lines.Line) -> None:
        """Note what a line says of its process."""
        if line.warning:
            return
        made, number, using = (
            nccl_lines.init(line.message),
            nccl_lines.sends_by(line.message),
            nccl_lines.nics(line.message),
        )
        if made is None and number is None and not using:
            return
        if len(self._processes) >= _MAX_PROCESSES:
            self._processes.clear()
        process = self._processes.setdefault(line.pid, _Process())
        if made is not None:
            process.gpu = made.gpu
        process.nics = using or process.nics
        if number is not None and process.nic is None:
            process.nic = process.nics.get(number)

    def _identities(self, ranks: dict[int, LocalRank]) -> list[dict[str, Any]]:
        rows = []
        for pid, rank in ranks.items():
            process = self._processes.get(pid)
            if process is None or (process.gpu is None and process.nic is None) or not rank.job:
                continue
            said = (rank.job, rank.attempt, rank.rank, process.gpu, process.nic)
            if process.told == said:
                continue
            process.told = said
            rows.append(
                {
                    "job": rank.job,
                    "attempt": rank.attempt,
                    "rank": rank.rank,
                    "host": self._host,
                    "pid": pid,
                    "gpu": process.gpu,
                    "nic": process.nic,
                }
            )
        return rows

    def _again(self, fault: nccl_lines.Fault, pid: int | None) -> bool:
        now = time.monotonic()
        key = (pid, fault.kind, fault.code, fault.nic, _NUMBERS.sub("#", fault.message))
        if now - self._told.get(key, float("-inf")) < REPEAT_SECONDS:
            return True
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told[key] = now
        return False
