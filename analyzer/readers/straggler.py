"""Straggler traces: per-operation times of a hybrid-parallel job (ByteDance-Seed/StragglerAnalysis, Parquet).

One rank of each tensor-parallel group is recorded. Times are seconds: `start_ts` since the step's begin, `duration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offbeat.analyzer.readers.errors import ReadError

if TYPE_CHECKING:
    from pathlib import Path

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

COLUMNS = ("dp_rank", "stage", "rank", "step", "optype", "duration")
MAX_ROWS = 50_000_000
"""Rows read at most; more would fill the memory."""


@dataclass(frozen=True, slots=True)
class StragglerTrace:
    """A trace in columns. `op` indexes `ops`; `start` and `duration` are seconds."""

    name: str
    ops: list[str]
    op: Ints
    step: Ints
    stage: Ints
    replica: Ints
    rank: Ints
    batch: Ints
    seq: Ints
    chunk: Ints
    start: Floats
    duration: Floats

    def __len__(self) -> int:
        return len(self.op)


def read(file: Path) -> StragglerTrace:
    """Read one trace.

    Raises:
        ReadError: It is not readable, too large, or lacks a column.
    """
    try:
        parquet = pq.ParquetFile(file)
        if parquet.metadata.num_rows > MAX_ROWS:
            raise ReadError(f"{parquet.metadata.num_rows} rows; at most {MAX_ROWS} are read")
        present = set(parquet.schema_arrow.names)
        wanted = [c for c in (*COLUMNS, "mb_id", "seq_id", "mc", "start_ts") if c in present]
        table = parquet.read(columns=wanted)
        words = table.column("optype").cast(pa.string()).combine_chunks().dictionary_encode()
        op = words.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return StragglerTrace(
            name=file.stem,
            ops=words.dictionary.to_pylist(),
            op=op,
            step=_ints(table, "step"),
            stage=_ints(table, "stage"),
            replica=_ints(table, "dp_rank"),
            rank=_ints(table, "rank"),
            batch=_ints(table, "mb_id"),
            seq=_ints(table, "seq_id"),
            chunk=_ints(table, "mc"),
            start=_floats(table, "start_ts"),
            duration=_floats(table, "duration"),
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ReadError(f"not a readable straggler trace: {error}"[:200]) from None


def _ints(table: pa.Table, name: str) -> Ints:
    if name not in table.column_names:
        return np.full(table.num_rows, -1, np.int64)
    return np.asarray(table.column(name).cast(pa.int64()).fill_null(-1).to_numpy(), np.int64)


def _floats(table: pa.Table, name: str) -> Floats:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table.column(name).cast(pa.float64()).fill_null(float("nan")).to_numpy(), np.float64)
