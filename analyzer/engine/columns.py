"""Arrow columns as numpy arrays, nulls filled, and tables split by job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

NONE = -1
"""What a null integer becomes: no time, rank or sequence number of a real record is negative."""


def ints(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return an integer or boolean column as int64, nulls as `NONE`."""
    column = pc.fill_null(table.column(name).cast(pa.int64()), NONE)
    return cast("np.ndarray[Any, np.dtype[np.int64]]", column.to_numpy())


def floats(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as float64, nulls as NaN."""
    column = pc.fill_null(table.column(name).cast(pa.float64()), float("nan"))
    return cast("np.ndarray[Any, np.dtype[np.float64]]", column.to_numpy())


def words(table: pa.Table, name: str) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the distinct strings of a column (null as "") and each row's index among them."""
    coded = pc.fill_null(table.column(name).cast(pa.string()), "").combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)


def by_job(table: pa.Table) -> Iterator[tuple[str, int, pa.Table]]:
    """Yield (job, attempt, rows) for each job in *table*; rows without a job come under ""."""
    if not table.num_rows:
        return
    names, index = words(table, "job")
    attempts = np.maximum(ints(table, "attempt"), 0)
    if (index == index[0]).all() and (attempts == attempts[0]).all():
        yield names[index[0]], int(attempts[0]), table
        return
    keys = np.unique(np.stack([index, attempts]), axis=1).T
    for name, attempt in keys:
        yield names[name], int(attempt), table.filter(pa.array((index == name) & (attempts == attempt)))
