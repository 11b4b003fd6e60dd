"""Single operations in few bytes: which, when, how long, how much own time before; and back to rows.

Times are kept to a microsecond, lengths to a part in five thousand (`codes`). An operation's start is told as what
passed since the start before it, so that nothing adds up to an error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offbeat import records
from offbeat.reducer import codes, thinning
from offbeat.reducer.operations import Book, Kind, Operations
from offbeat.reducer.rows import strings, with_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    Ints = np.ndarray[Any, np.dtype[np.int64]]

WHOLE_A_SECOND = 64.0
"""Up to so many operations a second a rank's are told one by one, all of them."""
MOST_A_SECOND = 48.0
"""Where there are more, so many of them at the most; more cost bytes, fewer make one that was late harder to find."""
MEMORY_SECONDS = 5.0
"""Time over which a rank's rate is learned; shorter, and what a burst of operations was made of is not told."""
PART = 1 << 17
"""Operations expanded at once, and most of one row; a hundred times what an agent ever tells."""
_US = 1000
_KINDS = pa.list_(pa.struct([("op", pa.string()), ("nbytes", pa.int64()), ("dtype", pa.string())]))


class Vectors:
    """Chooses operations to be told one by one, so many a second and rank."""

    def __init__(self, book: Book) -> None:
        """Use the numbers of *book*."""
        self._book = book
        self._rate: dict[tuple[str | None, int], float] = {}

    def take(self, ended: Operations, now: int, seconds: float) -> pa.Table:
        """Return those of *ended* that are chosen, one row a stream; *seconds* have passed since the last call."""
        level = self._levels(ended.stream, seconds)
        chosen = ended.at(thinning.kept(ended.seq, level[ended.stream]))
        if not len(chosen.seq):
            return records.schema("vectors").empty_table()
        chosen = chosen.at(np.lexsort((chosen.seq, chosen.stream)))
        first = np.nonzero(np.concatenate([[True], chosen.stream[1:] != chosen.stream[:-1]]))[0]
        start_us = chosen.enter // _US
        offsets = pa.array(np.append(first, len(chosen.seq)).astype(np.int32))
        one = chosen.at(first)
        kinds, kind, kind_offsets = self._kinds(chosen, first)
        columns = with_stream(self._book, one.stream) | {
            "thin": level[one.stream],
            "first_seq": one.seq,
            "first_started_at": start_us[first] * _US,
            "observed_at": np.full(len(first), now),
            "seq_step": _list(offsets, _steps(chosen.seq, first), pa.int32()),
            "start_step_us": _list(offsets, _steps(start_us, first), pa.int64()),
            "duration": _list(offsets, codes.encode(chosen.leave - chosen.enter), pa.uint16()),
            "own": _list(offsets, codes.encode(chosen.own), pa.uint16()),
            "kind": _list(offsets, kind, pa.int16()),
            "kinds": pa.ListArray.from_arrays(kind_offsets, kinds),
        }
        return records.build("vectors", columns)

    def _levels(self, stream: Ints, seconds: float) -> Ints:
        """Return, by stream, how much is left out: the same for all streams of a rank."""
        made = np.bincount(stream, minlength=len(self._book.streams))
        ranks: dict[tuple[str | None, int], float] = {}
        for each, count in zip(self._book.streams, made.tolist(), strict=True):
            key = each.job, each.rank
            ranks[key] = ranks.get(key, 0.0) + count
        for key, count in ranks.items():
            now = count / (seconds or 1.0)
            weight = math.exp(-seconds / MEMORY_SECONDS)
            self._rate[key] = weight * self._rate.get(key, now) + (1 - weight) * now
        levels = {key: _level(self._rate[key]) for key in ranks}
        return np.array([levels[each.job, each.rank] for each in self._book.streams], np.int64)

    def _kinds(self, chosen: Operations, first: Ints) -> tuple[pa.Array, Ints, pa.Array]:
        """Return the kinds of each row's operations, each operation's index among those of its row, and offsets."""
        row = np.zeros(len(chosen.seq), np.int64)
        row[first[1:]] = 1
        pairs, index = np.unique(np.stack([np.cumsum(row), chosen.kind]), axis=1, return_inverse=True)
        begins = np.searchsorted(pairs[0], np.arange(len(first) + 1))
        kinds = [self._book.kinds[k]._asdict() for k in pairs[1].tolist()]
        return (
            pa.array(kinds, _KINDS.value_type),
            index.reshape(-1) - begins[np.cumsum(row)],
            pa.array(begins, pa.int32()),
        )


def _level(rate: float) -> int:
    return 0 if rate <= WHOLE_A_SECOND else thinning.level(rate, MOST_A_SECOND)


def unfold(vectors: pa.Table) -> Iterator[pa.Table]:
    """Yield what `expand` returns, in tables of bounded size: what is small on the wire must not fill the memory."""
    total = np.cumsum(_lengths(vectors, "duration"))
    begin = 0
    while begin < vectors.num_rows:
        before = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + PART, side="right")))
        yield expand(vectors.slice(begin, end - begin))
        begin = end


def expand(vectors: pa.Table) -> pa.Table:
    """Return the operations of *vectors* as rows of `collectives`, ended, their times as near as they were kept.

    A row that contradicts itself, as no reducer makes it, is left out.
    """
    vectors = vectors.filter(pa.array(_sound(vectors))).combine_chunks()
    lengths = _lengths(vectors, "duration")
    which = np.repeat(np.arange(vectors.num_rows), lengths)
    if not len(which):
        return records.schema("collectives").empty_table()
    first = np.cumsum(lengths) - lengths
    seq = _unstep(vectors, "seq_step", first, which) + vectors.column("first_seq").to_numpy()[which]
    start = _unstep(vectors, "start_step_us", first, which) * _US + vectors.column("first_started_at").to_numpy()[which]
    durations = codes.decode(_flat(vectors, "duration").astype(np.uint16))
    kinds = [Kind(**(each or _NO_KIND)) for each in vectors.column("kinds").combine_chunks().flatten().to_pylist()]
    many = _lengths(vectors, "kinds")
    kind = pa.array(_flat(vectors, "kind") + (np.cumsum(many) - many)[which])
    pairwise = np.array(vectors.column("direction").is_valid())[which]
    columns: dict[str, Any] = {name: vectors.column(name).take(pa.array(which)) for name in _SAME}
    columns |= {
        "seq": pa.array(seq, mask=pairwise),
        "p2p_seq": pa.array(seq, mask=~pairwise),
        "op": strings([each.op or "other" for each in kinds]).take(kind),
        "nbytes": pa.array([each.nbytes or 0 for each in kinds], pa.int64()).take(kind),
        "dtype": strings([each.dtype for each in kinds]).take(kind),
        "state": pa.repeat("completed", len(which)),
        "enqueued_at": start,
        "started_at": start,
        "ended_at": start + durations,
    }
    return records.build("collectives", columns)


_NO_KIND = {"op": None, "nbytes": None, "dtype": None}
_SAME = ("job", "attempt", "comm", "rank", "peer", "observed_at")


def _steps(values: Ints, first: Ints) -> Ints:
    steps = np.diff(values, prepend=0)
    steps[first] = 0
    return steps


def _unstep(vectors: pa.Table, name: str, first: Ints, which: Ints) -> Ints:
    total = np.cumsum(_flat(vectors, name))
    before: Ints = total[np.minimum(first, len(total) - 1)]
    return np.asarray(total - before[which], np.int64)  # the first step of each row is 0


def _sound(vectors: pa.Table) -> Any:
    """Say which rows have lists of one length, not too long, and name only kinds that they have."""
    length = _lengths(vectors, "duration")
    sound = length <= PART
    for name in ("seq_step", "start_step_us", "own", "kind"):
        sound &= _lengths(vectors, name) == length
    places = _lengths(vectors, "kind")
    kind, row = _flat(vectors, "kind"), np.repeat(np.arange(vectors.num_rows), places)
    sound[row[(kind < 0) | (kind >= _lengths(vectors, "kinds")[row])]] = False
    return sound


def _lengths(vectors: pa.Table, name: str) -> Ints:
    lengths: Ints = pc.list_value_length(vectors.column(name)).to_numpy().astype(np.int64)
    return lengths


def _flat(vectors: pa.Table, name: str) -> Ints:
    flat = pc.list_flatten(vectors.column(name)).fill_null(0)
    values: Ints = flat.to_numpy().astype(np.int64)
    return values


def _list(offsets: pa.Array, values: Any, kind: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind))
