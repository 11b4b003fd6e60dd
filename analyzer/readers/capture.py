"""Offbeat captures: directories of Parquet files, one or several a record table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from offbeat.analyzer.readers.errors import ReadError
from offbeat.analyzer.readers.sources import table_of
from offbeat.records import RecordError, conform

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_ROWS = 50_000_000
"""Rows of one file read at most; more would fill the memory."""


def read(files: Iterable[Path], job: str) -> tuple[dict[str, pa.Table], list[str]]:
    """Read the record tables in *files*; rows that name no job are of job *job*, attempt 0.

    Returns:
        The tables by name, fitted to the registry, and why files were left out.
    """
    parts: dict[str, list[pa.Table]] = {}
    warnings: list[str] = []
    for file in files:
        try:
            name, table, unknown = _read_file(file)
        except (ReadError, RecordError, OSError, pa.ArrowException) as error:
            warnings.append(f"{file}: {str(error).splitlines()[0][:200]}")
            continue
        if unknown:
            warnings.append(f"{file}: unknown columns left out: {', '.join(unknown[:8])}")
        parts.setdefault(name, []).append(_named(table, job))
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}, warnings


def _read_file(file: Path) -> tuple[str, pa.Table, list[str]]:
    parquet = pq.ParquetFile(file)
    name = table_of(file, parquet.schema_arrow)
    if name is None:
        raise ReadError("none of the tables that offbeat knows")
    if parquet.metadata.num_rows > MAX_ROWS:
        raise ReadError(f"{parquet.metadata.num_rows} rows; at most {MAX_ROWS} are read")
    table = parquet.read()
    table.validate(full=True)
    fitted, unknown = conform(name, table)
    return name, fitted, unknown


def _named(table: pa.Table, job: str) -> pa.Table:
    for column, value in (("job", pa.scalar(job)), ("attempt", pa.scalar(0, pa.int32()))):
        if table.column(column).null_count:
            filled = pc.fill_null(table.column(column), value)
            table = table.set_column(table.column_names.index(column), table.schema.field(column), filled)
    return table
