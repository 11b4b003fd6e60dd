"""Where hosts stand: racks, power and network adapters, from a file of the `hosts` table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from offbeat.model import Evidence
from offbeat.records import RecordError, conform

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 64 << 20
"""Largest topology file read; a million hosts fit."""


def load(file: Path) -> pa.Table:
    """Read the `hosts` table from a Parquet, CSV or JSON file (a list of objects, or one object a line).

    Raises:
        ValueError: It cannot be read, or does not fit the table; the message says why.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
        with file.open("rb") as stream:
            head = stream.read(4).lstrip()
        if head == b"PAR1":
            table = pyarrow.parquet.read_table(file)
        elif head[:1] in {b"[", b"{"}:
            table = pa.Table.from_pylist(_objects(file.read_text("utf-8")))
        else:
            table = pyarrow.csv.read_csv(file)
        return conform("hosts", table)[0]
    except (OSError, pa.ArrowException, RecordError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error).splitlines()[0][:200]) from None


def _objects(text: str) -> list[dict[str, Any]]:
    rows = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    )
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a list of objects")
    return rows


def shared(culprits: set[str], hosts: pa.Table) -> Evidence | None:
    """Return what the hosts *culprits* share, None where they are not two or share nothing."""
    rows = [row for row in hosts.to_pylist() if row["host"] in culprits]
    if len(rows) < 2 or len(rows) < len(culprits):
        return None
    common: list[str] = []
    for what in ("rack", "power"):
        values = {row[what] for row in rows}
        if len(values) == 1 and None not in values:
            common.append(f"{what} {values.pop()}")
    leaves = [{nic["leaf"] for nic in row["nics"] or () if nic["leaf"]} for row in rows]
    common += [f"leaf switch {leaf}" for leaf in sorted(set.intersection(*leaves))]
    if not common:
        return None
    return Evidence("topology", f"{', '.join(sorted(culprits))} share {', '.join(common)}", {"hosts": sorted(culprits)})
