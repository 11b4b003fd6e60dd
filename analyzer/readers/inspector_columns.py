"""Blocks of Inspector lines as columns: Arrow parses what is regular, many times faster than line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

Ints = np.ndarray[Any, np.dtype[np.int64]]

_INT64 = 1 << 63
_TIME = _INT64 // 2000
"""Bound of what is taken for microseconds: they become nanoseconds in 64 bits."""
_DENSE = 1 << 20
"""Numbers below this are counted in a table; sorting them takes longer."""


def _perf(kind: str) -> pa.DataType:
    kernels = pa.list_(pa.struct({"kernel_start_ts": pa.int64(), "kernel_stop_ts": pa.int64()}))
    trace = {f"{kind}_start_ts": pa.int64(), f"{kind}_stop_ts": pa.int64(), "kernel_events": kernels}
    return pa.struct(
        {
            kind: pa.string(),
            f"{kind}_sn": pa.int64(),
            f"{kind}_peer": pa.int64(),
            f"{kind}_msg_size_bytes": pa.int64(),
            f"{kind}_exec_time_us": pa.int64(),
            f"{kind}_timing_source": pa.string(),
            "event_trace_ts": pa.struct(trace),
        }
    )


_SCHEMA = pa.schema(
    {
        "header": pa.struct({"id": pa.string(), "comm_name": pa.string(), "rank": pa.int64(), "n_ranks": pa.int64()}),
        "metadata": pa.struct({"dump_timestamp_us": pa.int64(), "hostname": pa.string(), "pid": pa.int64()}),
        "coll_perf": _perf("coll"),
        "p2p_perf": _perf("p2p"),
        "dump_stats": pa.struct({"coll_dropped_total": pa.int64()}),
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """The operations of a block of lines in columns; times are µs, -1 for unknown.

    `who` indexes `holders`: id, name, rank and size of the communicator, host and pid. `op` indexes `ops`.
    """

    holders: list[tuple[str, str | None, int, int, str, int]]
    ops: list[str]
    who: Ints
    op: Ints
    number: Ints
    nbytes: Ints
    peer: Ints
    took: Ints
    started: Ints
    ended: Ints
    seen: Ints
    kernel: Ints


def parse(data: bytes) -> list[Block] | None:
    """Parse whole lines, one block a kind of operation.

    Returns:
        None where a line needs more care than columns allow: it is no JSON, leaves out its header (format v4.3), counts
        losses, or holds a value that is missing, of another type or out of bounds.
    """
    try:
        return _parse(data)
    except (pa.ArrowException, ValueError):
        return None


def _parse(data: bytes) -> list[Block] | None:
    options = pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    table = pj.read_json(pa.BufferReader(data), pj.ReadOptions(block_size=max(len(data), 1 << 16)), options)
    if table.num_rows != data.count(b"\n"):
        return None
    if any(table.column(name).null_count for name in ("header", "metadata")):
        return None
    if table.column("dump_stats").null_count < table.num_rows:
        return None
    blocks = []
    for kind in ("coll", "p2p"):
        present = table.column(f"{kind}_perf").is_valid()
        chosen = table.filter(present).combine_chunks()
        if chosen.num_rows:
            block = _block(chosen, kind)
            if block is None:
                return None
            blocks.append(block)
    return blocks if sum(len(block.who) for block in blocks) == table.num_rows else None


def _block(table: pa.Table, kind: str) -> Block | None:
    header, metadata, perf = (_struct(table, name) for name in ("header", "metadata", f"{kind}_perf"))
    known = [header("id"), metadata("hostname"), perf(kind)]
    numbers = [header("rank"), header("n_ranks"), metadata("pid"), perf(f"{kind}_sn"), perf(f"{kind}_exec_time_us")]
    if any(column.null_count for column in known + numbers):
        return None
    place, size, pid, number, took = (_ints(column) for column in numbers)
    bounded = (place >= 0) & (size >= 1) & (number >= 0) & (took >= 0) & (took < _TIME) & (number < _TIME)
    if not bounded.all():
        return None
    codes = [_codes(column) for column in (header("id"), header("comm_name"), metadata("hostname"))]
    who, first = _combine([*(code for _, code in codes), place, size, pid])
    words = [[names[c] if c >= 0 else None for c in code[first]] for names, code in codes]
    holders = list(zip(words[0], words[1], place[first], size[first], words[2], pid[first], strict=True))
    started, ended = _times(perf("event_trace_ts"), kind)
    ops, op = _codes(perf(kind))
    sources, source = _codes(perf(f"{kind}_timing_source"))
    peer = _ints(perf("p2p_peer")) if kind == "p2p" else np.full(len(number), -1, np.int64)
    return Block(
        holders=[(i, n, int(r), int(s), h, int(p)) for i, n, r, s, h, p in holders],
        ops=ops,
        who=who,
        op=op,
        number=number,
        nbytes=np.maximum(_ints(perf(f"{kind}_msg_size_bytes")), 0),
        peer=peer,
        took=took,
        started=started,
        ended=ended,
        seen=_ints(metadata("dump_timestamp_us")),
        kernel=(source == sources.index("kernel_gpu")).astype(np.int64) if "kernel_gpu" in sources else 0 * op,
    )


def _struct(table: pa.Table, name: str) -> Any:
    column = table.column(name).combine_chunks()
    return lambda field: pc.struct_field(column, field)


def _ints(column: pa.Array) -> Ints:
    values = np.asarray(column.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    return np.where(np.abs(values) < _TIME, values, -1)


def _codes(column: pa.Array) -> tuple[list[str], Ints]:
    """Return the distinct words of a column, and each row's index among them, -1 for null."""
    words = column.dictionary_encode()
    return words.dictionary.to_pylist(), _ints(words.indices)


def _combine(columns: list[Ints]) -> tuple[Ints, Ints]:
    """Number the distinct rows of *columns* by first appearance; return each row's number and where each appeared."""
    key, span = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        code, width = column - column.min(), int(column.max()) - int(column.min()) + 1
        if span * width > _DENSE:
            code, width = _dense(code)
            key, span = _dense(key)
        key, span = key * width + code, span * width
    key, span = _dense(key)
    first = np.zeros(span, np.int64)
    first[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    order = np.argsort(first)
    place = np.empty(span, np.int64)
    place[order] = np.arange(span)
    return place[key], first[order]


def _dense(values: Ints) -> tuple[Ints, int]:
    """Renumber *values* without gaps; return how many there are, too."""
    if int(values.max()) < _DENSE:
        present = np.bincount(values) > 0
        return (np.cumsum(present) - 1)[values], int(present.sum())
    known, code = np.unique(values, return_inverse=True)
    return np.asarray(code.reshape(-1), np.int64), len(known)


def _times(trace: pa.Array, kind: str) -> tuple[Ints, Ints]:
    """Return when operations ran, from their kernels, else from their calls; -1 for unknown."""
    started, ended = (_ints(pc.struct_field(trace, f"{kind}_{word}_ts")) for word in ("start", "stop"))
    events = pc.struct_field(trace, "kernel_events")
    row = np.asarray(pc.list_parent_indices(events).to_numpy(zero_copy_only=False), np.int64)
    if len(row):
        kernels = pc.list_flatten(events)
        begins, ends = (_ints(pc.struct_field(kernels, f"kernel_{word}_ts")) for word in ("start", "stop"))
        having = np.unique(row)
        started[having], ended[having] = _INT64 - 1, 0
        np.minimum.at(started, row, begins)
        np.maximum.at(ended, row, ends)
    unknown = (started <= 0) | (ended < started)
    started[unknown] = ended[unknown] = -1
    return started, ended
