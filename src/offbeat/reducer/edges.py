"""Sums of transfers by edge and block of sequence numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offbeat import records

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SHIFT = 6
"""Size of the blocks, as a power of two: the same everywhere, so that both ends of an edge sum the same operations."""
_KEYS = ("job", "attempt", "comm", "src", "dst", "src_comm_rank", "dst_comm_rank", "side", "block")
_COUNTERS = ("steps_total", "steps_gpu_ready", "steps_posted", "steps_done")


def reduce(transfers: pa.Table, now: int, run: int) -> tuple[pa.Table, pa.Table]:
    """Return `edge_blocks` of the transfers that have ended, and the others as they are.

    Blocks that come in parts merge by addition, their step counters by the largest.
    """
    ended = pc.is_valid(transfers.column("ended_at"))
    open_, done = transfers.filter(pc.invert(ended)), transfers.filter(ended)
    if not done.num_rows:
        return records.schema("edge_blocks").empty_table(), open_
    waits = pc.add(pc.fill_null(done["gpu_wait_ns"], 0), pc.fill_null(done["credit_wait_ns"], 0))
    rest = pc.subtract(pc.subtract(done["ended_at"], done["started_at"]), waits)
    wire_ns = pc.coalesce(done["wire_ns"], rest)
    done = done.set_column(done.column_names.index("wire_ns"), "wire_ns", wire_ns)
    wire = pc.cast(wire_ns, pa.float64())
    done = done.append_column("block", pc.shift_right(done.column("seq"), SHIFT))
    done = done.append_column("wire_us2", pc.power(pc.divide(wire, 1e3), 2.0))
    sums = [(name, "sum") for name in ("nbytes", "wire_ns", "wire_us2", "credit_wait_ns", "gpu_wait_ns")]
    most = [(name, "max") for name in ("wire_ns", "ended_at", *_COUNTERS)]
    seq = [("seq", "count"), ("seq", "max")]
    found = done.group_by(list(_KEYS)).aggregate([*sums, *most, *seq, ("started_at", "min")])
    rows = found.num_rows
    columns: dict[str, Any] = {name: found.column(name) for name in _KEYS} | {
        "shift": np.full(rows, SHIFT),
        "n": found.column("seq_count"),
        "last_seq": found.column("seq_max"),
        "nbytes": found.column("nbytes_sum"),
        "wire_sum": found.column("wire_ns_sum"),
        "wire_sum2": found.column("wire_us2_sum"),
        "wire_max": found.column("wire_ns_max"),
        "credit_wait_sum": found.column("credit_wait_ns_sum"),
        "gpu_wait_sum": found.column("gpu_wait_ns_sum"),
        "first_started_at": found.column("started_at_min"),
        "last_ended_at": found.column("ended_at_max"),
        "observed_at": np.full(rows, now),
        "run": np.full(rows, run),
    }
    columns |= {name: found.column(f"{name}_max") for name in _COUNTERS}
    return records.build("edge_blocks", columns), open_


def expand(blocks: pa.Table) -> pa.Table:
    """Return each of *blocks* as one transfer, of all their bytes and times: the last of them, and ended with it."""
    begins = pc.shift_left(blocks.column("block"), pc.cast(blocks.column("shift"), pa.int64()))
    columns = {name: blocks.column(name) for name in (*_KEYS[:-1], "nbytes", *_COUNTERS)} | {
        "seq": pc.coalesce(blocks.column("last_seq"), begins),
        "count": pc.cast(pc.min_element_wise(blocks.column("n"), (1 << 31) - 1), pa.int32()),
        "started_at": blocks.column("first_started_at"),
        "ended_at": blocks.column("last_ended_at"),
        "wire_ns": blocks.column("wire_sum"),
        "wire_max_ns": blocks.column("wire_max"),
        "credit_wait_ns": blocks.column("credit_wait_sum"),
        "gpu_wait_ns": blocks.column("gpu_wait_sum"),
    }
    return records.build("transfers", {**columns, "nbytes": pc.fill_null(columns["nbytes"], 0)})
