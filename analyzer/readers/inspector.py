"""NCCL Inspector logs: one JSON object a line, formats v4.0 to v4.4, plain or verbose.

The format is that of NVIDIA/nccl `plugins/profiler/inspector`. What a reader must live with: a last line cut off
because the file is being written, lines that only count losses, from v4.3 on a header that stands for the lines after
it, unknown keys, communicator ids cut to 14 hex digits, and ranks that mean nothing outside their communicator.
"""

from __future__ import annotations

import io
import json
import re
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.readers import inspector_columns
from offbeat.analyzer.readers.errors import ReadError

if TYPE_CHECKING:
    from pathlib import Path

MAX_RECORDS = 4_000_000
"""Operations read at most; more would fill the memory, and change no answer."""
BLOCK = 16 << 20
"""Bytes of a file parsed at a time."""
MAX_LINE = 1 << 20
"""Longest line read whole; real ones have a few kilobytes."""
_NAME = re.compile(r"^(?P<host>.+)-pid(?P<pid>\d+)")
_INT64 = 1 << 63
_OPS = {
    "allreduce": "all_reduce",
    "allgather": "all_gather",
    "reducescatter": "reduce_scatter",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "alltoall": "all_to_all",
    "gather": "gather",
    "scatter": "scatter",
    "send": "send",
    "recv": "recv",
}


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """One process of the job."""

    host: str
    pid: int


@dataclass(frozen=True, slots=True, order=True)
class CommKey:
    """A communicator: its id is cut off in the logs, so its size belongs to its identity.

    `twin` tells apart those that still look alike: two processes cannot have one rank of one communicator.
    """

    id: str
    size: int
    twin: int = 0

    @property
    def word(self) -> str:
        """The communicator in a word."""
        return f"{self.id}/{self.size}" + (f"#{self.twin}" if self.twin else "")


def _longs() -> array[int]:
    return array("q")


@dataclass(slots=True)
class InspectorLog:
    """Operations in columns, one row each; times are Unix ns, -1 for unknown.

    `comm`, `process` and `op` are indices into `comms`, `processes` and `ops`; `peer` is communicator-local.
    """

    comms: dict[CommKey, int] = field(default_factory=dict)
    processes: dict[Process, int] = field(default_factory=dict)
    ops: dict[str, int] = field(default_factory=dict)
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    """(comm, process) → rank inside the communicator."""
    holders: dict[tuple[int, int], int] = field(default_factory=dict)
    """(comm, rank inside it) → process."""
    names: dict[int, str] = field(default_factory=dict)
    comm: array[int] = field(default_factory=_longs)
    process: array[int] = field(default_factory=_longs)
    op: array[int] = field(default_factory=_longs)
    number: array[int] = field(default_factory=_longs)
    nbytes: array[int] = field(default_factory=_longs)
    peer: array[int] = field(default_factory=_longs)
    duration: array[int] = field(default_factory=_longs)
    started: array[int] = field(default_factory=_longs)
    ended: array[int] = field(default_factory=_longs)
    seen: array[int] = field(default_factory=_longs)
    kernel: array[int] = field(default_factory=_longs)
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.comm)


def read(files: list[Path]) -> InspectorLog:
    """Read the logs of one job's processes."""
    log = InspectorLog()
    for file in files:
        if len(log) >= MAX_RECORDS:
            log.warnings.append(f"{file}: more than {MAX_RECORDS} operations; the rest was left out")
            break
        try:
            _read_file(file, log)
        except OSError as error:
            log.warnings.append(f"{file}: {error.strerror or error}")
    return log


@dataclass(slots=True)
class _State:
    """What a line may leave out, because an earlier line of the file said it."""

    header: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0
    broken: int = 0
    cut: bool = False


def _read_file(file: Path, log: InspectorLog) -> None:
    state = _State()
    found = _NAME.match(file.name)
    state.metadata = {"hostname": found["host"], "pid": int(found["pid"][:18])} if found else {}
    with file.open("rb") as stream:
        while len(log) < MAX_RECORDS and (block := stream.read(BLOCK)):
            if not block.endswith(b"\n"):
                block += stream.readline(MAX_LINE)
            _read_block(block, state, log)
    if state.broken:
        log.warnings.append(f"{file}: {state.broken} unreadable lines")
    if state.cut:
        log.warnings.append(f"{file}: the last line is cut off")
    if state.dropped:
        log.warnings.append(f"{file}: Inspector lost {state.dropped} records; conclusions rest on the others")


def _read_block(data: bytes, state: _State, log: InspectorLog) -> None:
    whole = data.rfind(b"\n") + 1
    blocks = inspector_columns.parse(data[:whole]) if whole and not state.header else None
    if blocks is not None:
        for block in blocks:
            _add_block(block, log)
        data = data[whole:]
    for line in io.BytesIO(data):
        if not line.strip():
            continue
        if len(log) >= MAX_RECORDS:
            return
        try:
            _read_line(json.loads(line), state, log)
        except (ReadError, ValueError, RecursionError, TypeError, AttributeError, KeyError):
            if line.endswith(b"\n") or len(line) >= MAX_LINE:
                state.broken += 1
            else:
                state.cut = True


def _add_block(block: inspector_columns.Block, log: InspectorLog) -> None:
    comms, processes = [], []
    for comm_id, name, place, size, host, pid in block.holders:
        process = log.processes.setdefault(Process(host[:255], pid), len(log.processes))
        comm = _comm(log, comm_id[:16].lower(), size, process, place)
        if name not in {None, "", "unknown"}:
            log.names.setdefault(comm, str(name)[:200])
        comms.append(comm)
        processes.append(process)
    ops = [log.ops.setdefault(op[:64], len(log.ops)) for op in block.ops]
    left = slice(0, MAX_RECORDS - len(log))
    columns = {
        "comm": np.array(comms)[block.who],
        "process": np.array(processes)[block.who],
        "op": np.array(ops)[block.op],
        "number": block.number,
        "nbytes": block.nbytes,
        "peer": block.peer,
        "duration": block.took * 1000,
        "started": np.where(block.started > 0, block.started * 1000, -1),
        "ended": np.where(block.ended > 0, block.ended * 1000, -1),
        "seen": np.maximum(block.seen * 1000, -1),
        "kernel": block.kernel,
    }
    for name, values in columns.items():
        getattr(log, name).frombytes(np.ascontiguousarray(values[left], np.int64).tobytes())


def _read_line(value: Any, state: _State, log: InspectorLog) -> None:
    if "header" in value:
        state.header = dict(value["header"])
    if "metadata" in value:
        state.metadata = {**state.metadata, **value["metadata"]}
    losses = value.get("dump_stats")
    if isinstance(losses, dict):
        state.dropped = sum(_int(losses.get(f"{kind}_dropped_total"), 0) for kind in ("coll", "p2p"))
    if "coll_perf" in value:
        _add(value["coll_perf"], "coll", state, log)
    elif "p2p_perf" in value:
        _add(value["p2p_perf"], "p2p", state, log)


def _add(perf: dict[str, Any], kind: str, state: _State, log: InspectorLog) -> None:
    header, metadata = state.header, state.metadata
    place, size = _int(header.get("rank"), -1), _int(header.get("n_ranks"), -1)
    number, took = _int(perf.get(f"{kind}_sn"), -1), _int(perf.get(f"{kind}_exec_time_us"), -1)
    if place < 0 or size < 1 or number < 0 or took < 0:
        raise ReadError("an operation without rank, size, number or time")
    process = log.processes.setdefault(
        Process(str(metadata.get("hostname", ""))[:255], _int(metadata.get("pid"), -1)), len(log.processes)
    )
    comm = _comm(log, str(header.get("id"))[:16].lower(), size, process, place)
    name = header.get("comm_name")
    if isinstance(name, str) and name not in {"", "unknown"}:
        log.names.setdefault(comm, name[:200])
    started, ended = _times(perf.get("event_trace_ts"), kind)
    log.comm.append(comm)
    log.process.append(process)
    log.op.append(log.ops.setdefault(str(perf.get(kind))[:64], len(log.ops)))
    log.number.append(number)
    log.nbytes.append(max(_int(perf.get(f"{kind}_msg_size_bytes"), 0), 0))
    log.peer.append(_int(perf.get("p2p_peer"), -1) if kind == "p2p" else -1)
    log.duration.append(took * 1000)
    log.started.append(started)
    log.ended.append(ended)
    log.seen.append(max(_int(metadata.get("dump_timestamp_us"), -1) * 1000, -1))
    log.kernel.append(int(perf.get(f"{kind}_timing_source") == "kernel_gpu"))


def _comm(log: InspectorLog, comm_id: str, size: int, process: int, place: int) -> int:
    for twin in range(len(log.comms) + 1):
        comm = log.comms.setdefault(CommKey(comm_id, size, twin), len(log.comms))
        if log.holders.setdefault((comm, place), process) == process:
            log.places.setdefault((comm, process), place)
            return comm
    raise ReadError("a rank that is everybody's")


def _times(trace: object, kind: str) -> tuple[int, int]:
    """Return when an operation ran, from its kernels, else from its calls; -1 for unknown."""
    if not isinstance(trace, dict):
        return -1, -1
    events = trace.get("kernel_events")
    kernels = [e for e in events if isinstance(e, dict)] if isinstance(events, list) else []
    starts = [_int(e.get("kernel_start_ts"), 0) for e in kernels] or [_int(trace.get(f"{kind}_start_ts"), 0)]
    ends = [_int(e.get("kernel_stop_ts"), 0) for e in kernels] or [_int(trace.get(f"{kind}_stop_ts"), 0)]
    if min(starts) <= 0 or max(ends) < min(starts):
        return -1, -1
    return min(starts) * 1000, max(ends) * 1000


def jobs(log: InspectorLog) -> list[InspectorLog]:
    """Split *log* into processes that share communicators, the most records first: others are another job's."""
    parent = list(range(len(log.processes)))

    def root(process: int) -> int:
        while parent[process] != process:
            parent[process] = parent[parent[process]]
            process = parent[process]
        return process

    first: dict[int, int] = {}
    for comm, process in log.places:
        parent[root(process)] = root(first.setdefault(comm, process))
    groups: dict[int, list[int]] = {}
    for process in range(len(parent)):
        groups.setdefault(root(process), []).append(process)
    if len(groups) < 2:
        return [log]
    return sorted((_part(log, processes) for processes in groups.values()), key=lambda part: -len(part))


def _part(log: InspectorLog, processes: list[int]) -> InspectorLog:
    """Return the rows and communicators of *processes* as a log of their own."""
    chosen = {old: new for new, old in enumerate(processes)}
    comms = {old: new for new, old in enumerate(sorted({c for c, p in log.places if p in chosen}))}
    part = InspectorLog(
        comms={key: comms[index] for key, index in log.comms.items() if index in comms},
        processes={process: chosen[index] for process, index in log.processes.items() if index in chosen},
        ops=log.ops,
        places={(comms[c], chosen[p]): place for (c, p), place in log.places.items() if p in chosen},
        names={comms[c]: name for c, name in log.names.items() if c in comms},
    )
    rows = [i for i, process in enumerate(log.process) if process in chosen]
    for column in ("op", "number", "nbytes", "peer", "duration", "started", "ended", "seen", "kernel"):
        values = getattr(log, column)
        setattr(part, column, array("q", [values[i] for i in rows]))
    part.comm = array("q", [comms[log.comm[i]] for i in rows])
    part.process = array("q", [chosen[log.process[i]] for i in rows])
    return part


def canonical(native: str) -> str:
    """Return the word of `records.OPS` for NCCL's name of an operation."""
    return _OPS.get(native.lower(), "other")


def _int(value: object, missing: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and -_INT64 // 2000 <= value < _INT64 // 2000
        else missing
    )
