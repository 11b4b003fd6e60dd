"""Lines of NCCL Inspector's logs, formats v4.0 to v4.4: one JSON object each, some of which lean on an earlier one.

Format: NVIDIA/nccl plugins/profiler/inspector. Communicator ids are cut to 14 hex digits, hence their size belongs to
their name here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_OPS = {
    "AllReduce": "all_reduce",
    "AllGather": "all_gather",
    "ReduceScatter": "reduce_scatter",
    "Broadcast": "broadcast",
    "Reduce": "reduce",
    "AlltoAll": "all_to_all",
    "Gather": "gather",
    "Scatter": "scatter",
    "Send": "send",
    "Recv": "recv",
}
_MAX = (1 << 62) // 1000


@dataclass(frozen=True, slots=True)
class Operation:
    """A finished operation; times in ns, None where the log does not say."""

    comm: str
    place: int
    size: int
    name: str | None
    op: str
    native: str
    number: int
    nbytes: int
    peer: int | None
    started_at: int | None
    ended_at: int | None
    duration_ns: int
    seen_at: int | None
    on_gpu: bool


@dataclass(slots=True)
class Reader:
    """Reads the lines of one file; from format v4.3 on a header stands for the lines after it."""

    host: str = ""
    pid: int = -1
    dropped: int = 0
    """Operations that Inspector itself lost so far."""
    _header: dict[str, Any] = field(default_factory=dict)
    _metadata: dict[str, Any] = field(default_factory=dict)

    def read(self, line: str) -> Operation | None:
        """Return the operation of a line, None if there is none in it.

        Raises:
            ValueError: It is no line of Inspector.
        """
        try:
            value = json.loads(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(value, dict):
            raise ValueError("no object")  # noqa: TRY004 - it is the text that is wrong
        self._remember(value)
        for kind in ("coll", "p2p"):
            perf = value.get(f"{kind}_perf")
            if isinstance(perf, dict):
                return self._operation(perf, kind)
        return None

    def _remember(self, value: dict[str, Any]) -> None:
        header, metadata, losses = value.get("header"), value.get("metadata"), value.get("dump_stats")
        if isinstance(header, dict):
            self._header = header
        if isinstance(metadata, dict):
            self._metadata = metadata
            host = metadata.get("hostname")
            self.host = host[:255] if isinstance(host, str) else self.host
            self.pid = _int(metadata.get("pid"), self.pid)
        if isinstance(losses, dict):
            self.dropped = max(self.dropped, sum(_int(losses.get(f"{k}_dropped_total"), 0) for k in ("coll", "p2p")))

    def _operation(self, perf: dict[str, Any], kind: str) -> Operation:
        place, size = _int(self._header.get("rank"), -1), _int(self._header.get("n_ranks"), -1)
        number, took = _int(perf.get(f"{kind}_sn"), -1), _int(perf.get(f"{kind}_exec_time_us"), -1)
        if not (0 <= place < size < 1 << 31) or number < 0 or took < 0:
            raise ValueError("an operation without rank, size, number or time")
        native, name = str(perf.get(kind))[:64], self._header.get("comm_name")
        started, ended = _times(perf.get("event_trace_ts"), kind)
        peer = _int(perf.get("p2p_peer"), -1) if kind == "p2p" else -1
        seen = _int(self._metadata.get("dump_timestamp_us"), -1)
        return Operation(
            comm=f"{str(self._header.get('id'))[:16].lower()}/{size}",
            place=place,
            size=size,
            name=name[:200] if isinstance(name, str) and name not in {"", "unknown"} else None,
            op=_OPS.get(native, "other"),
            native=native,
            number=number,
            nbytes=max(_int(perf.get(f"{kind}_msg_size_bytes"), 0), 0),
            peer=peer if 0 <= peer < size else None,
            started_at=started,
            ended_at=ended,
            duration_ns=took * 1000,
            seen_at=seen * 1000 if seen > 0 else None,
            on_gpu=perf.get(f"{kind}_timing_source") == "kernel_gpu",
        )


def _times(trace: object, kind: str) -> tuple[int | None, int | None]:
    """Return when an operation ran, by its kernels, else by its calls (verbose logs only)."""
    if not isinstance(trace, dict):
        return None, None
    events = trace.get("kernel_events")
    kernels = [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    starts = [_int(kernel.get("kernel_start_ts"), 0) for kernel in kernels] or [_int(trace.get(f"{kind}_start_ts"), 0)]
    ends = [_int(kernel.get("kernel_stop_ts"), 0) for kernel in kernels] or [_int(trace.get(f"{kind}_stop_ts"), 0)]
    if min(starts) <= 0 or max(ends) < min(starts):
        return None, None
    return min(starts) * 1000, max(ends) * 1000


def _int(value: object, missing: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX else missing
