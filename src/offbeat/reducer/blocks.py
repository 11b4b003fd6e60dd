"""Sums over aligned blocks of sequence numbers: exact, and of the same operations on every rank.

With common departure the difference of two ranks' summed durations over one block is the difference of their summed
lateness, so that sums are enough for change points and drifts (diagnosis: "Reduction").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat import records
from offbeat.reducer.operations import NONE, Book, Operations
from offbeat.reducer.rows import strings, with_stream

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]

BLOCK_SECONDS = 1.0
"""A block holds what a stream makes in this time, or up to twice that; longer delays what is judged by blocks."""
LARGEST = 20
"""Largest size of a block, as a power of two."""
PATIENCE_NS = 5_000_000_000
"""How long a block waits for operations that are still under way; then it is sent without them, and they follow."""


class Blocks:
    """Operations that have ended, until their blocks are closed."""

    def __init__(self, book: Book, run: int) -> None:
        """Use the numbers of *book*; *run* says who sums."""
        self._book = book
        self._run = run
        self._waiting = Operations.none()
        self._extra: tuple[Ints, Ints] = (np.zeros(0, np.int64),) * 2
        self._shift = np.zeros(0, np.int64)
        self._rate = np.zeros(0)

    def take(self, ended: Operations, lateness: Ints, transfer: Ints, now: int, seconds: float) -> pa.Table:
        """Take operations that have ended, and return the blocks that are closed now.

        Args:
            ended: The operations.
            lateness: By how much each was later than its last member, ns; -1 where that is not known here.
            transfer: How long it took when all had come, ns; -1 where that is not known here.
            now: Unix ns.
            seconds: Since the last call.
        """
        self._pace(ended.stream, seconds)
        held = Operations.joined([self._waiting, ended])
        extra = tuple(np.concatenate(pair) for pair in zip(self._extra, (lateness, transfer), strict=True))
        ready = self._ready(held, now)
        self._waiting, later = held.at(~ready), tuple(values[~ready] for values in extra)
        held, extra = held.at(ready), tuple(values[ready] for values in extra)
        self._extra = (later[0], later[1])
        if not len(held.seq):
            return records.schema("blocks").empty_table()
        shift = self._shift[held.stream]
        block = held.seq >> shift
        order = np.lexsort((held.seq, held.kind, block, held.stream))
        held, block, shift = held.at(order), block[order], shift[order]
        extra = tuple(values[order] for values in extra)
        closed = self._closed(held, block, shift, now)
        self._waiting = Operations.joined([self._waiting, held.at(~closed)])
        self._extra = (np.append(later[0], extra[0][~closed]), np.append(later[1], extra[1][~closed]))
        return self._table(held.at(closed), block[closed], shift[closed], (extra[0][closed], extra[1][closed]), now)

    def _pace(self, stream: Ints, seconds: float) -> None:
        """Learn how many operations a second each stream makes; the size of its blocks follows slowly."""
        more = len(self._book.streams) - len(self._rate)
        if more > 0:
            self._rate = np.concatenate([self._rate, np.full(more, np.nan)])
            self._shift = np.concatenate([self._shift, np.zeros(more, np.int64)])
        rate = np.bincount(stream, minlength=len(self._rate)) / (seconds or 1.0)
        self._rate = np.where(np.isnan(self._rate), rate, 0.7 * self._rate + 0.3 * rate)
        wanted = np.clip(np.ceil(np.log2(np.maximum(self._rate * BLOCK_SECONDS, 1.0))), 0, LARGEST)
        # A size that swings between two powers of two would cut every block in two.
        far = np.abs(np.log2(np.maximum(self._rate * BLOCK_SECONDS, 1.0)) - self._shift + 0.5) > 0.75
        self._shift = np.where(far, wanted, self._shift).astype(np.int64)

    def _ready(self, held: Operations, now: int) -> Any:
        """Say which operations are of streams in which a block may be closed; to sort the others is for nothing."""
        streams = len(self._book.streams)
        newest, oldest = np.full(streams, -1, np.int64), np.full(streams, np.iinfo(np.int64).max)
        since = np.full(streams, now)
        np.maximum.at(newest, held.stream, held.seq)
        np.minimum.at(oldest, held.stream, held.seq)
        np.minimum.at(since, held.stream, held.leave)
        may = ((newest + 1) >> self._shift) > (oldest >> self._shift)
        return (may | (now - since > PATIENCE_NS))[held.stream]

    def _closed(self, held: Operations, block: Ints, shift: Ints, now: int) -> Any:
        starts = _starts(held.stream, block)
        group = np.cumsum(starts) - 1
        first = np.nonzero(starts)[0]
        count = np.bincount(group)
        newest = np.full(len(self._book.streams), -1, np.int64)
        np.maximum.at(newest, held.stream, held.seq)
        passed = (newest[held.stream[first]] >> shift[first]) > block[first] + 1
        oldest = np.minimum.reduceat(held.leave, first)
        done = (count == (np.int64(1) << shift[first])) | (passed & (now - oldest > PATIENCE_NS))
        # Of a stream that stands still, what has ended is told, too.
        done |= now - oldest > 2 * PATIENCE_NS
        return done[group]

    def _table(self, ops: Operations, block: Ints, shift: Ints, extra: tuple[Ints, Ints], now: int) -> pa.Table:
        if not len(ops.seq):
            return records.schema("blocks").empty_table()
        starts = _starts(ops.stream, block, ops.kind)
        first = np.nonzero(starts)[0]
        group = np.cumsum(starts) - 1
        one = ops.at(first)
        n = np.bincount(group)
        of_block = np.cumsum(_starts(ops.stream, block)) - 1
        in_block = np.bincount(of_block)[of_block[first]]
        columns = with_stream(self._book, one.stream)
        kinds = [self._book.kinds[k] for k in one.kind.tolist()]
        columns |= {
            "op": strings([kind.op for kind in kinds]),
            "nbytes": [kind.nbytes for kind in kinds],
            "dtype": strings([kind.dtype for kind in kinds]),
            "shift": shift[first],
            "block": block[first],
            "n": n,
            "missing": (np.int64(1) << shift[first]) - in_block,
            "first_started_at": np.minimum.reduceat(ops.enter, first),
            "last_ended_at": np.maximum.reduceat(ops.leave, first),
            "observed_at": np.full(len(first), now),
            "run": np.full(len(first), self._run),
        }
        columns |= _sums("duration", ops.leave - ops.enter, ops.seq, group, first)
        columns |= _sums("own", ops.own, ops.seq, group, first)
        for name, values in zip(("lateness", "transfer"), extra, strict=True):
            known = values >= 0
            columns[f"{name}_n"] = np.bincount(group, known)
            columns[f"{name}_sum"] = _added(np.where(known, values, 0), first)
        columns["lateness_max"] = np.maximum.reduceat(extra[0], first)
        columns["transfer_min"] = np.minimum.reduceat(np.where(extra[1] < 0, np.iinfo(np.int64).max, extra[1]), first)
        nothing = columns["lateness_n"] == 0
        for name in ("lateness_sum", "lateness_max", "transfer_sum", "transfer_min"):
            columns[name] = pa.array(columns[name], mask=nothing)
        for name in ("lateness_n", "transfer_n"):
            columns[name] = columns[name].astype(np.int64)
        return records.build("blocks", columns)


def _sums(name: str, values: Ints, seq: Ints, group: Ints, first: Ints) -> dict[str, Any]:
    """Return the sums and extremes of *values* by group; unknown ones (-1) are left out."""
    known = values != NONE
    n = np.bincount(group, known).astype(np.int64)
    largest = np.maximum.reduceat(values, first)
    at = np.nonzero(values == largest[group])[0]
    where = at[np.unique(group[at], return_index=True)[1]]
    lengths = np.where(known, values, 0)
    none = n == 0
    return {
        f"{name}_n": n,
        f"{name}_sum": pa.array(_added(lengths, first), mask=none),
        f"{name}_sum2": pa.array(np.add.reduceat((lengths / 1e3) ** 2, first).astype(np.float32), mask=none),
        f"{name}_min": pa.array(np.minimum.reduceat(np.where(known, values, np.iinfo(np.int64).max), first), mask=none),
        f"{name}_max": pa.array(largest, mask=none),
        f"{name}_max_seq": pa.array(seq[where], mask=none),
    }


def _added(values: Ints, first: Ints) -> Ints:
    added: Ints = np.add.reduceat(values, first)
    return added


def _starts(*keys: Ints) -> Any:
    """Say at which rows, sorted by *keys*, another group begins."""
    starts = np.zeros(len(keys[0]), bool)
    starts[:1] = True
    for values in keys:
        starts[1:] |= values[1:] != values[:-1]
    return starts
