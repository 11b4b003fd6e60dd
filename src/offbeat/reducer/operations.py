"""Rows of `collectives` as arrays, and the streams they belong to.

A stream is what sequence numbers count: the operations of one rank in one communicator, or what it sends to, or gets
from, one other rank there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]

SEQS = 1 << 40
"""More operations than any stream makes; a stream's number times this plus a sequence number names one."""
NONE = -1
"""What a null becomes: no time, rank or sequence number of a real record is negative."""
PAIRWISE = ("send", "recv")
"""Operations counted by peer and direction."""
_MOST_PACKED = 1 << 62
UNEVEN = ("all_to_all", "gather", "scatter", "send", "recv", "send_recv")
"""Operations whose members have sizes of their own; sizes that may be new each time would fill the memory."""


class Stream(NamedTuple):
    """Whose operations: `peer` and `direction` (send or recv) are None for those of the whole communicator."""

    job: str | None
    attempt: int | None
    comm: str
    rank: int
    peer: int | None
    direction: str | None


class Kind(NamedTuple):
    """What members of one operation must agree on; `nbytes` is None where they need not."""

    op: str
    nbytes: int | None
    dtype: str | None


class Operations(NamedTuple):
    """Operations as arrays of equal length, times in Unix ns of the rank's host, not positive while unknown."""

    stream: Ints
    """Number in `Book.streams`."""
    kind: Ints
    """Number in `Book.kinds`."""
    seq: Ints
    enter: Ints
    leave: Ints
    own: Ints
    """Time of its own that the rank spent before it, ns; -1 unknown."""

    def at(self, which: Any) -> Operations:
        """Return those of index or mask *which*."""
        return Operations._make(values[which] for values in self)

    @classmethod
    def joined(cls, parts: list[Operations]) -> Operations:
        """Return all of *parts* one after the other."""
        return cls._make(np.concatenate(values) for values in zip(*parts, strict=True))

    @classmethod
    def none(cls) -> Operations:
        """Return no operations."""
        return cls._make(np.zeros(0, np.int64) for _ in cls._fields)


@dataclass(slots=True)
class Book:
    """Numbers for streams and kinds, given as they come."""

    streams: list[Stream] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    _stream: dict[Stream, int] = field(default_factory=dict)
    _kind: dict[Kind, int] = field(default_factory=dict)

    def number(self, stream: Stream) -> int:
        """Return the number of a stream, a new one if need be."""
        if stream not in self._stream:
            self._stream[stream] = len(self.streams)
            self.streams.append(stream)
        return self._stream[stream]

    def kind(self, kind: Kind) -> int:
        """Return the number of a kind, a new one if need be."""
        if kind not in self._kind:
            self._kind[kind] = len(self.kinds)
            self.kinds.append(kind)
        return self._kind[kind]


class Rows(NamedTuple):
    """Operations, the row of the table each came from, and when it was seen, ns."""

    operations: Operations
    row: Ints
    seen: Ints


def read(table: pa.Table, book: Book) -> tuple[Rows, Ints]:
    """Return the operations of a `collectives` table, each once, and the rows that cannot be reduced.

    Of several copies the one that ended counts, else the one seen last. What has no sequence number or no time cannot
    be reduced, nor can an operation that ended with an error.
    """
    ops, op = words(table, "op")
    states, state = words(table, "state")
    rank, peer, seen = (ints(table, name) for name in ("rank", "peer", "observed_at"))
    pairwise = _among(op, ops, PAIRWISE) & (peer != NONE)
    seq = np.where(pairwise, ints(table, "p2p_seq"), ints(table, "seq"))
    enter, leave = times(table)
    good = (seq >= 0) & (seq < SEQS) & (enter > 0) & (rank >= 0) & ~(_among(state, states, ("unknown",)) & (leave > 0))
    side = np.where(pairwise, op, NONE)
    stream = _streams(table, book, rank, np.where(pairwise, peer, NONE), [side, ops])
    kind = _kinds(table, book, op, ops)
    order = np.nonzero(good)[0]
    if (np.diff(seen[order]) < 0).any():
        order = order[np.argsort(seen[order], kind="stable")]
    key = (stream[order] * SEQS + seq[order]) * 2 + (leave[order] > 0)
    place = np.argsort(key, kind="stable")
    last = np.ones(len(order), bool)
    last[:-1] = np.diff(key[place] >> 1) != 0
    order = order[place[last]]
    found = [values[order] for values in (stream, kind, seq, enter, leave)]
    unknown = np.full(len(order), NONE, np.int64)
    return Rows(Operations._make([*found, unknown]), order, seen[order]), np.nonzero(~good)[0]


def _streams(table: pa.Table, book: Book, rank: Ints, peer: Ints, side: Any) -> Ints:
    jobs, job = words(table, "job")
    comms, comm = words(table, "comm")

    def number(each: tuple[int, ...]) -> int:
        j, a, c, r, p, o = each
        paired = (p, side[1][o]) if o != NONE else (None, None)
        return book.number(Stream(jobs[j], None if a == NONE else a, comms[c] or "", r, *paired))

    return _numbers(number, job, ints(table, "attempt"), comm, rank, peer, side[0])


def _kinds(table: pa.Table, book: Book, op: Ints, ops: list[str | None]) -> Ints:
    dtypes, dtype = words(table, "dtype")

    def number(each: tuple[int, ...]) -> int:
        o, size, d = each
        return book.kind(Kind(ops[o] or "", None if size == NONE else size, dtypes[d]))

    return _numbers(number, op, np.where(_among(op, ops, UNEVEN), NONE, ints(table, "nbytes")), dtype)


def times(table: pa.Table) -> tuple[Ints, Ints]:
    """Return when each operation of a `collectives` table was entered and left, ns; not positive where unknown.

    A host enqueues long before the device gets there, so a device's own start is when the rank was there.
    """
    started, enqueued, ended = (ints(table, name) for name in ("started_at", "enqueued_at", "ended_at"))
    enter = np.where(enqueued > 0, enqueued, started)
    clocks, clock = words(table, "clock")
    on_device = _among(clock, clocks, ("gpu",)) & (started > 0)
    enter = np.where(on_device, started, enter)
    length = ints(table, "duration_ns")
    return enter, np.where((ended <= 0) & (length >= 0) & (enter > 0), enter + length, ended)


def _among(index: Ints, words: list[str | None], wanted: tuple[str, ...]) -> Any:
    return np.isin(index, [k for k, word in enumerate(words) if word in wanted])


def _numbers(number: Any, *columns: Ints) -> Ints:
    """Call *number* with each distinct tuple of *columns*, once; return its answers row by row."""
    if not len(columns[0]):
        return np.zeros(0, np.int64)
    packed = np.zeros(len(columns[0]), np.int64)
    room = 1
    for values in columns:
        least, most = int(values.min()), int(values.max())
        if room * (most - least + 1) >= _MOST_PACKED:  # never with what a node makes
            packed = np.unique(np.stack([packed, values]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
            room = len(packed)
            continue
        room *= most - least + 1
        packed = packed * (most - least + 1) + (values - least)
    _, first, which = np.unique(packed, return_index=True, return_inverse=True)
    distinct = zip(*(values[first].tolist() for values in columns), strict=True)
    found = np.array([number(each) for each in distinct], np.int64)
    return np.asarray(found[which.reshape(-1)], np.int64)


def ints(table: pa.Table, name: str) -> Ints:
    """Return a column as int64, null as `NONE`."""
    column = table.column(name)
    if column.null_count == len(column):
        return np.full(len(column), NONE, np.int64)
    if column.null_count:
        column = pc.fill_null(column, NONE)
    values: Ints = column.to_numpy().astype(np.int64, copy=False)
    return values


def words(table: pa.Table, name: str) -> tuple[list[str | None], Ints]:
    """Return the distinct strings of a column and each row's index among them."""
    coded = pc.dictionary_encode(table.column(name), null_encoding="encode").combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # of no rows
        return [], np.zeros(0, np.int64)
    return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)
