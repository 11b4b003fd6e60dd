"""From ring records to tables, for all rings of a poll at once: one pass of numpy, one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from offbeat import records
from offbeat.collector.columns import FEW_ROWS, look_up
from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import OPERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from offbeat.collector.source import LocalRank

_CLOCKS = ("cpu", "gpu")
_UNKNOWN = records.STATES.index("unknown")
_NUMBERS = ("seq", "fn_seq", "p2p_seq")
_RANKS = ("peer", "root")
_TIMES = {"enqueued_at": "enqueued", "started_at": "started", "ended_at": "ended"}
_COUNTS = {"channels": "channels", "group_id": "group", "stream": "stream"}
_STRINGS = {"native_op": "native", "dtype": "dtype", "redop": "redop", "algo": "algo", "proto": "proto"}
_ID_BITS = 20
"""Room for the string ids of one ring in a number that is unique over all rings."""


class Piece(NamedTuple):
    """Operations of one ring: whose, by which recorder, what to add to its times, what its ids mean."""

    rank: LocalRank
    source: str
    offset_ns: int
    operations: Sequence[NDArray[np.void]]
    """Arrays of `OPERATION`."""
    comms: Sequence[str]
    """By id, from 1; place 0 is not used."""
    strings: Sequence[str]


def collectives(pieces: Sequence[Piece], observed_at: int) -> pa.Table:
    """Return operations as rows of `collectives`; those of a communicator that the ring cannot name are left out.

    Args:
        pieces: Each of a known rank.
        observed_at: When they were read, Unix ns.
    """
    # As words: numpy takes the fields of structured arrays apart to join them, a hundred times slower.
    words = [array.view(np.uint64) for piece in pieces for array in piece.operations]
    operations = np.concatenate(words).view(OPERATION)
    which = np.repeat(np.arange(len(pieces)), [sum(map(len, piece.operations)) for piece in pieces])
    named = operations["comm"] != 0
    if not named.all():
        operations, which = operations[named], which[named]
    offset = np.array([piece.offset_ns for piece in pieces], np.int64)[which]
    # One that ended with an error has an end, but nobody may conclude that its transfer was done.
    state = np.where(operations["flags"] & layout.FAILED, _UNKNOWN, operations["state"])
    columns: dict[str, Any] = {
        "job": look_up([piece.rank.job for piece in pieces], which),
        "attempt": np.array([piece.rank.attempt for piece in pieces], np.int32)[which],
        "comm": _words(which, operations["comm"], [piece.comms for piece in pieces]),
        "rank": np.array([piece.rank.rank for piece in pieces], np.int32)[which],
        "op": look_up(layout.OPS, operations["op"]),
        "nbytes": operations["nbytes"],
        "state": look_up(records.STATES, state),
        "clock": look_up(_CLOCKS, np.minimum(operations["clock"], 1)),
        "source": look_up([piece.source for piece in pieces], which),
        "observed_at": np.full(len(operations), observed_at, np.int64),
    }
    for name in _NUMBERS:
        _put(columns, name, operations[name], operations[name] < 0)
    for name, field in _TIMES.items():
        _put(columns, name, operations[field] + offset, operations[field] == 0)
    for name, field in _COUNTS.items():
        _put(columns, name, operations[field], operations[field] == 0)
    inside = (operations["traits"] & layout.COMM_RANKS) != 0
    for name in _RANKS:
        _put(columns, name, operations[name], (operations[name] < 0) | inside)
        _put(columns, f"{name}_comm_rank", operations[name], (operations[name] < 0) | ~inside)
    _put(columns, "graph", operations["graph"] != 0, operations["graph"] == 0)
    on_device = (operations["traits"] & layout.ON_DEVICE) != 0
    _put(columns, "device", on_device, ~on_device)
    strings = [piece.strings for piece in pieces]
    for name, field in _STRINGS.items():
        if operations[field].any():
            columns[name] = _words(which, operations[field], strings)
    return records.build("collectives", columns)


def _put(columns: dict[str, Any], name: str, values: NDArray[Any], unknown: NDArray[np.bool_]) -> None:
    """Add a column, null where *unknown*; not at all where nothing is known."""
    if not unknown.all():
        columns[name] = pa.array(values, mask=unknown)


def _words(which: NDArray[np.int64], ids: NDArray[Any], tables: Sequence[Sequence[str]]) -> pa.Array:
    """Look up *ids* in the table of each row's ring; id 0 is null."""
    if len(ids) and (ids == ids[0]).all():
        word = int(ids[0])
        used = {tables[ring][word] if word else None for ring in np.unique(which).tolist()}
        if len(used) == 1:
            return pa.repeat(pa.scalar(used.pop(), pa.string()), len(ids))
    if len(ids) < FEW_ROWS:
        pairs = zip(which.tolist(), ids.tolist(), strict=True)
        return pa.array([tables[ring][word] if word else None for ring, word in pairs], pa.string())
    both, place = np.unique((which << _ID_BITS) | ids, return_inverse=True)
    mask = (1 << _ID_BITS) - 1
    return look_up([tables[key >> _ID_BITS][key & mask] if key & mask else None for key in both.tolist()], place)
