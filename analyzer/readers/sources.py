"""What kind of thing each file is, told by its content: names and suffixes are whatever a cluster made of them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from offbeat.records import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FILES = 200_000
"""Files looked at below one path; a whole file system given by mistake would otherwise be walked to its end."""
HEAD = 65_536
_INSPECTOR = (b'"coll_perf"', b'"p2p_perf"', b'"dump_stats"', b'"proxy_trace"', b'"inspector_output_format_version"')
_STRAGGLER = frozenset({"dp_rank", "stage", "rank", "step", "optype", "duration"})


class Kind(StrEnum):
    """The sources of `offbeat diagnose`."""

    FLIGHT_RECORDER = "flight_recorder"
    NCCL_INSPECTOR = "nccl_inspector"
    CAPTURE = "capture"
    STRAGGLER_TRACE = "straggler_trace"


@dataclass(slots=True)
class Sources:
    """Files by kind, in order of their paths, and why others were left out."""

    files: dict[Kind, list[Path]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    warnings: list[str] = field(default_factory=list)


def discover(paths: Iterable[Path]) -> Sources:
    """Recognise every regular file at or below *paths*."""
    found = Sources()
    seen: set[tuple[int, int]] = set()
    for path in paths:
        for count, file in enumerate(_walk(path, found.warnings)):
            if count >= MAX_FILES:
                found.warnings.append(f"{path}: more than {MAX_FILES} files; the rest was left out")
                break
            _sort(file, found, seen)
    return found


def _walk(path: Path, warnings: list[str]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=lambda e: warnings.append(f"{e.filename}: {e.strerror}")):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def _sort(file: Path, found: Sources, seen: set[tuple[int, int]]) -> None:
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):  # the recorder's own pipes lie beside its dumps, and would block
            found.warnings.append(f"{file}: not a regular file")
            return
        if (about.st_dev, about.st_ino) in seen:
            return
        seen.add((about.st_dev, about.st_ino))
        with file.open("rb") as stream:
            head = stream.read(HEAD)
        kind, reason = _recognise(file, head)
    except OSError as error:
        found.warnings.append(f"{file}: {error.strerror or error}")
        return
    if kind is None:
        found.warnings.append(f"{file}: {reason}")
    else:
        found.files[kind].append(file)


def _recognise(file: Path, head: bytes) -> tuple[Kind | None, str]:
    if not head:
        return None, "empty"
    if head.startswith(b"PAR1"):
        return _parquet(file)
    text = head.lstrip()
    if text.startswith(b"{"):
        inspector = any(mark in head for mark in _INSPECTOR) and b'"pg_status"' not in head
        return (Kind.NCCL_INSPECTOR if inspector else Kind.FLIGHT_RECORDER), ""
    if head[:1] == b"\x80" or head[:2] in {b"}q", b"(d", b"}("}:
        return Kind.FLIGHT_RECORDER, ""
    return None, "not a format that offbeat reads"


def _parquet(file: Path) -> tuple[Kind | None, str]:
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        return None, f"not readable Parquet: {error}"[:200].splitlines()[0]
    if set(schema.names) >= _STRAGGLER:
        return Kind.STRAGGLER_TRACE, ""
    if table_of(file, schema) is not None:
        return Kind.CAPTURE, ""
    return None, "Parquet, but none of the tables that offbeat knows"


def table_of(file: Path, schema: pa.Schema) -> str | None:
    """Return the record table that a Parquet file holds: as its metadata says, else as its name begins."""
    named = str((schema.metadata or {}).get(b"table", b""), "utf-8", "replace")
    if named in TABLES:
        return named
    stem = file.name.split(".", 1)[0]
    fitting = [name for name in TABLES if stem == name or stem.startswith((f"{name}-", f"{name}_"))]
    return max(fitting, key=len, default=None)
