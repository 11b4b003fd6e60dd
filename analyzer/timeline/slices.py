"""From recorded operations to slices on tracks, and who waited for whom; no I/O.

Who came last to a collective is told by durations, not by clocks of different hosts: all members leave a collective
together, so the one whose operation is shortest entered last (docs/adr/0002-durations-not-clocks.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SECOND = 1_000_000_000
WAIT_NS = 1_000_000
"""Shorter waits are no arrow; without it every healthy collective draws one for each of its members."""
FIRST_STEP_NS = SECOND
"""The newest stretch read first; it grows while it holds little."""
_COLUMNS = (
    "comm rank seq fn_seq p2p_seq op peer nbytes state enqueued_at started_at ended_at duration_ns observed_at".split()  # noqa: SIM905 - reads as a list
)


@dataclass(slots=True)
class Slice:
    """One operation or phase of one rank: `lane` keeps those that overlap apart, `end` is None while it is open."""

    rank: int
    track: str
    name: str
    begin: int
    end: int | None
    figures: dict[str, int | str]
    key: tuple[Any, ...] | None = None
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """`waiting` stood in the operation that `late` entered last; both are places in the list of slices."""

    waiting: int
    late: int


def newest(
    read: Callable[[int, int], pa.Table], since: int, until: int, most: int, ranks: Sequence[int] | None
) -> tuple[pa.Table, int]:
    """Read back from *until* until *since* or until there are *most* rows.

    Args:
        read: Returns the rows that reach into a stretch of time (ns, ns).
        since: Start, ns.
        until: End, ns.
        most: Rows at most; what is left out is the oldest.
        ranks: Only these; None for all.

    Returns:
        The rows, those that reach into several stretches several times, and since when they are complete, ns.
    """
    pieces: list[pa.Table] = []
    step, edge, rows = FIRST_STEP_NS, until, 0
    while edge > since and rows < most:
        begin = max(since, edge - step)
        piece = read(begin, edge)
        if ranks is not None:
            piece = piece.filter(pc.is_in(piece.column("rank"), pa.array(ranks, pa.int32())))
        if rows + piece.num_rows > most:
            if not pieces:
                piece, edge = _latest(piece, most)
                pieces.append(piece)
            break
        pieces.append(piece)
        rows, edge = rows + piece.num_rows, begin
        if piece.num_rows < most // 8:
            step *= 2
    return (pa.concat_tables(pieces) if pieces else read(until, until)), edge


def _latest(piece: pa.Table, most: int) -> tuple[pa.Table, int]:
    """Return the *most* rows that began last, and when the first of them did."""
    times = [piece.column(name) for name in ("started_at", "enqueued_at", "at") if name in piece.column_names]
    begin = pc.coalesce(*times).combine_chunks()
    order = pc.array_sort_indices(begin, order="descending")[:most]
    return piece.take(order), pc.min(begin.take(order)).as_py() or 0


def of_collectives(data: pa.Table, names: dict[str, str]) -> list[Slice]:
    """Return the operations in *data* as slices, each once; *names* has what communicators are called."""
    kept: dict[tuple[Any, ...], tuple[int, Slice]] = {}
    for row in data.select([name for name in _COLUMNS if name in data.column_names]).to_pylist():
        begin = row["started_at"] if row["started_at"] is not None else row["enqueued_at"]
        if begin is None:
            continue
        end = row["ended_at"]
        if end is None and row["state"] == "completed" and row["duration_ns"] is not None:
            end = begin + row["duration_ns"]
        key = _key(row)
        figures = {name: row[name] for name in ("seq", "nbytes", "peer") if row[name] is not None}
        made = Slice(row["rank"], names.get(row["comm"]) or row["comm"], row["op"], begin, end, figures, key)
        told = (row["rank"], *(key or (row["comm"], row["op"], begin)))
        seen = row["observed_at"] or 0
        # An open operation is sent again and again; what was seen last is how it stands.
        if told not in kept or seen >= kept[told][0]:
            kept[told] = (seen, made)
    return [made for _, made in kept.values()]


def _key(row: dict[str, Any]) -> tuple[Any, ...] | None:
    """Return what the same operation is called on all of its ranks (contracts, section 3)."""
    if row["op"] in {"send", "recv"}:
        if row["p2p_seq"] is None or row["peer"] is None:
            return None
        ends = (row["rank"], row["peer"]) if row["op"] == "send" else (row["peer"], row["rank"])
        return (row["comm"], *ends, row["p2p_seq"])
    if row["seq"] is not None:
        return (row["comm"], row["seq"])
    return None if row["fn_seq"] is None else (row["comm"], row["op"], row["fn_seq"])


def of_spans(data: pa.Table) -> list[Slice]:
    """Return phases of ranks as slices."""
    return [
        Slice(row["rank"], "phases", row["kind"], row["started_at"], row["ended_at"], {"step": row["step"] or 0})
        for row in data.select(["rank", "kind", "step", "started_at", "ended_at"]).to_pylist()
    ]


def lay_out(slices: list[Slice]) -> list[Slice]:
    """Sort slices by time and put those of a track that overlap into lanes: a viewer closes the last opened first."""
    slices.sort(key=lambda each: (each.begin, each.rank))
    ends: dict[tuple[int, str], list[float]] = {}
    for each in slices:
        lanes = ends.setdefault((each.rank, each.track), [])
        each.lane = next((lane for lane, end in enumerate(lanes) if end <= each.begin), len(lanes))
        if each.lane == len(lanes):
            lanes.append(0)
        lanes[each.lane] = float("inf") if each.end is None else max(each.end, each.begin + 1)
    return slices


def waits(slices: Sequence[Slice], most: int) -> list[Wait]:
    """Return who waited for whom, the longest *most* waits.

    Of operations that all have left, those waited who spent `WAIT_NS` more in it than the member that came last. Where
    some have not, those who are still inside wait, and nobody is named from what is here.
    """
    together: dict[tuple[Any, ...], list[int]] = {}
    for place, each in enumerate(slices):
        if each.key is not None:
            together.setdefault(each.key, []).append(place)
    found = [wait for places in together.values() for wait in _waits_in(slices, places)]
    return [wait for _, wait in sorted(found, key=lambda item: -item[0])[:most]]


def _waits_in(slices: Sequence[Slice], places: Iterable[int]) -> Iterator[tuple[int, Wait]]:
    lengths = {}
    for place in places:
        end = slices[place].end
        if end is None:
            return
        lengths[place] = end - slices[place].begin
    late = min(lengths, key=lambda place: lengths[place])
    for place, length in lengths.items():
        if length - lengths[late] >= WAIT_NS:
            yield length - lengths[late], Wait(place, late)
