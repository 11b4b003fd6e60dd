"""Segments: records of one table in one zstd Parquet file, never changed after it is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offbeat.records import conform, fields, schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROW_GROUP = 1 << 17
"""Rows that are read or skipped as one; larger groups make short windows expensive, smaller ones compress worse."""

DESCRIBING = frozenset({"jobs", "ranks", "hosts", "memberships"})
"""Tables that say what a job is made of: sent once, true until told otherwise, so no window of time leaves them out."""

_TIMES = ("at", "enqueued_at", "started_at", "ended_at", "last_progress_at", "observed_at")


@dataclass(frozen=True, slots=True)
class Part:
    """The catalogue's entry for what one segment file holds of one job and attempt (`""` and 0 where none is named)."""

    record: str
    job: str
    attempt: int
    from_at: int | None
    to_at: int | None
    received_at: int
    rows: int
    bytes: int
    path: str
    level: int


def write(directory: Path, record: str, data: pa.Table, *, received_at: int, level: int) -> list[Part]:
    """Write *data* as a new file and wait until the disk has it (its name is the directory's to sync).

    Args:
        directory: Where to.
        record: The table's name in the registry.
        data: Its rows, conforming to the registry.
        received_at: When the last of them was received, ns.
        level: How often these rows have been merged.

    Returns:
        One entry for each job and attempt in it.

    Raises:
        OSError: The disk refuses; no file is left.
    """
    parts = _parts(data, record)
    if parts.num_rows > 1:
        # Lets a reader of one job skip the row groups of the others.
        data = data.sort_by([("job", "ascending"), ("attempt", "ascending")])
    path = directory / f"{record}-{uuid4().hex}.parquet"
    try:
        with path.open("xb") as file:
            flat = [f.name for f in fields(record) if f.type == pa.int64()]
            with pq.ParquetWriter(
                file,
                data.schema,
                compression="zstd",
                use_dictionary=[f.name for f in fields(record) if f.type == pa.string()],
                column_encoding=dict.fromkeys(flat, "DELTA_BINARY_PACKED"),
            ) as writer:
                writer.write_table(data, row_group_size=ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return [
        Part(
            record=record,
            job=row["job"],
            attempt=row["attempt"],
            from_at=row["first_min"],
            to_at=row["last_max"],
            received_at=received_at,
            rows=row["first_count"],
            bytes=size * row["first_count"] // data.num_rows,
            path=path.name,
            level=level,
        )
        for row in parts.to_pylist()
    ]


def read(path: Path, record: str, condition: Any | None) -> pa.Table:
    """Return the rows of a segment file that meet *condition* (all, when None), fitted to today's registry.

    Raises:
        FileNotFoundError: It is gone: merged into another, or expired.
    """
    data = pq.read_table(path, filters=condition, partitioning=None)
    return conform(record, data)[0]


def condition(
    record: str,
    *,
    job: str | None = None,
    attempt: int | None = None,
    host: str | None = None,
    since: int | None = None,
    until: int | None = None,
) -> Any | None:
    """Return the Arrow expression for the rows asked for; None for all.

    A row counts when any of its times is at or after *since* and any is before *until* (ns), or it has none.
    """
    times = [pc.field(name) for name in times_of(record)]
    terms = []
    if job is not None:
        terms.append(pc.field("job") == job)
    if attempt is not None:
        terms.append(pc.field("attempt") == attempt)
    if host is not None:
        terms.append(pc.field("host") == host)
    if times and (since is not None or until is not None):
        timeless = reduce(and_, [time.is_null() for time in times])
        if since is not None:
            terms.append(reduce(or_, [time >= since for time in times]) | timeless)
        if until is not None:
            terms.append(reduce(or_, [time < until for time in times]) | timeless)
    return reduce(and_, terms) if terms else None


def times_of(record: str) -> list[str]:
    """Return the columns of *record* that say when; none for the tables in `DESCRIBING`."""
    if record in DESCRIBING:
        return []
    present = {f.name for f in fields(record)}
    return [name for name in _TIMES if name in present]


def empty(record: str) -> pa.Table:
    """Return *record* without rows."""
    return schema(record).empty_table()


def newest(tables: Mapping[str, pa.Table]) -> int | None:
    """Return the largest `at` in *tables*, ns; None where no row has one."""
    found = [
        pc.max(data.column("at")).as_py() for data in tables.values() if "at" in data.column_names and data.num_rows
    ]
    return max((at for at in found if at is not None), default=None)


def _parts(data: pa.Table, record: str) -> pa.Table:
    times = [data.column(name) for name in times_of(record)]
    none = pa.nulls(data.num_rows, pa.int64())
    keyed = pa.table(
        {
            "job": pc.fill_null(data.column("job"), ""),
            "attempt": pc.fill_null(data.column("attempt"), 0),
            "first": pc.min_element_wise(*times) if times else none,
            "last": pc.max_element_wise(*times) if times else none,
        }
    )
    count = pc.CountOptions(mode="all")
    return keyed.group_by(["job", "attempt"]).aggregate([("first", "min"), ("last", "max"), ("first", "count", count)])
