"""From transfers in rings to rows of `transfers`.

What is done is told once an operation, edge and side, its channels summed up: there are dozens of them. What stands
still is told with its channel, again at every reading, for that is where a hang shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from offbeat import records
from offbeat.collector.columns import look_up
from offbeat.collector.ring import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from offbeat.collector.ring.tables import CommInfo
    from offbeat.collector.source import LocalRank

STILL_NS = 250_000_000
"""Time without a step from which a transfer under way is told; less, and every healthy one is told of several times."""
_KEY = ("comm", "seq", "peer", "side")
_SUMS = ("nbytes", "gpu_wait", "credit_wait", "wire", "flush", "steps", "ready", "posted", "done")
_LAST = ("progress", "wire_max")
_RECV = layout.SIDES.index("recv")


class Moves(NamedTuple):
    """The transfers of one ring: whose, what to add to its times, its communicators, and arrays of `TRANSFER`.

    With `over` its process has ended, and nothing under way will go on.
    """

    rank: LocalRank
    offset_ns: int
    comms: Sequence[CommInfo]
    moved: NDArray[np.void]
    moving: NDArray[np.void]
    over: bool = False


def tables(moves: Sequence[Moves], now: int) -> dict[str, pa.Table]:
    """Return, as table `transfers`, what was moved since the last reading and what stands still, if anything.

    Args:
        moves: Each of a known rank; transfers of communicators that the ring cannot name are left out.
        now: Unix ns.
    """
    parts = []
    for ring in moves:
        moved = _summed(ring.moved[ring.moved["comm"] != 0])
        if len(moved["seq"]):
            parts.append(_table(ring, moved, over=True))
        still = ring.over | (ring.moving["progress"] + ring.offset_ns < now - STILL_NS)
        still &= ring.moving["comm"] != 0
        if still.any():
            fields = (*_KEY, *_SUMS, *_LAST, "started", "channel")
            parts.append(_table(ring, {name: ring.moving[name][still] for name in fields}, over=False))
    return {"transfers": pa.concat_tables(parts)} if parts else {}


def _summed(moved: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """Return the channels of each operation, edge and side as one."""
    keys = np.stack([moved[name].astype(np.int64) for name in _KEY], axis=1)
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    found: dict[str, NDArray[Any]] = {name: distinct[:, k] for k, name in enumerate(_KEY)}
    for name in _SUMS:
        found[name] = np.zeros(len(distinct), np.int64)
        np.add.at(found[name], which, moved[name].astype(np.int64))
    for name in _LAST:
        found[name] = np.zeros(len(distinct), np.int64)
        np.maximum.at(found[name], which, moved[name].astype(np.int64))
    found["started"] = np.full(len(distinct), np.iinfo(np.int64).max)
    np.minimum.at(found["started"], which, moved["started"])
    return found


def _table(ring: Moves, found: dict[str, NDArray[Any]], *, over: bool) -> pa.Table:
    count, recv = len(found["seq"]), found["side"] == _RECV
    place = np.array([0, *(comm.comm_rank for comm in ring.comms)], np.int64)[found["comm"]]
    columns: dict[str, Any] = {
        "job": [ring.rank.job] * count,
        "attempt": np.full(count, ring.rank.attempt, np.int32),
        "comm": look_up(["", *(comm.comm for comm in ring.comms)], found["comm"]),
        "seq": found["seq"],
        "src": pa.array(np.full(count, ring.rank.rank, np.int32), mask=recv),
        "dst": pa.array(np.full(count, ring.rank.rank, np.int32), mask=~recv),
        "src_comm_rank": np.where(recv, found["peer"], place).astype(np.int32),
        "dst_comm_rank": np.where(recv, place, found["peer"]).astype(np.int32),
        "side": look_up(layout.SIDES, found["side"]),
        "nbytes": found["nbytes"],
        "count": np.minimum(found["done"], np.iinfo(np.int32).max).astype(np.int32),
        "started_at": found["started"] + ring.offset_ns,
        "gpu_wait_ns": found["gpu_wait"],
        "credit_wait_ns": pa.array(found["credit_wait"], mask=recv),
        "wire_ns": found["wire"],
        "wire_max_ns": found["wire_max"].astype(np.int64),
        "flush_ns": pa.array(found["flush"], mask=~recv),
        "steps_total": found["steps"].astype(np.int64),
        "steps_gpu_ready": pa.array(found["ready"].astype(np.int64), mask=recv),
        "steps_posted": found["posted"].astype(np.int64),
        "steps_done": found["done"].astype(np.int64),
        "last_progress_at": found["progress"] + ring.offset_ns,
    }
    if over:
        columns["ended_at"] = columns["last_progress_at"]
    else:
        columns["channel"] = found["channel"].astype(np.int32)
    return records.build("transfers", columns)
