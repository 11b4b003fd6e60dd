"""From Flight Recorder files to sets of dumps, one dump a rank and one set a job."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offbeat.analyzer.readers.errors import ReadError
from offbeat.analyzer.readers.flight_recorder import parse, rank_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from offbeat.analyzer.readers.dumps import Dump

MAX_BYTES = 128 << 20
"""Largest dump read; a real one with 20,000 entries and stacks is smaller, and values take many times their bytes."""
TOLD = 3
"""Broken entries and doubtful ranks told one by one; many of them have one cause."""


@dataclass(slots=True)
class DumpSet:
    """The dumps of one job; `label` is the folder they lie in."""

    label: str
    dumps: list[Dump]


def load(files: Iterable[Path]) -> tuple[list[DumpSet], list[str]]:
    """Read *files* and sort them into jobs.

    Dumps of one folder and like names belong together, and so do folders whose ranks do not overlap (one a host).
    Folders that hold the same ranks are different jobs, or different hangs of one.

    Returns:
        The sets, and why files or dumps were left out.
    """
    warnings: list[str] = []
    with _uncollected():
        read = [(file, dump) for file in files if (dump := _read(file, warnings)) is not None]
    _renumber(read, warnings)
    families: dict[Path, dict[str, dict[int, Dump]]] = {}
    for file, dump in read:
        family = families.setdefault(file.parent, {}).setdefault(re.sub(r"\d+", "#", file.name), {})
        if dump.rank < 0:
            warnings.append(f"{file}: a Flight Recorder dump, but no rank in its name")
        elif dump.rank in family:
            warnings.append(f"{file}: another dump of rank {dump.rank}; left out")
        else:
            family[dump.rank] = dump
    folders: dict[Path, dict[int, Dump]] = {}
    others: list[DumpSet] = []
    for folder, by_name in families.items():
        if not any(by_name.values()):
            continue
        first, *rest = _apart({name: family for name, family in by_name.items() if family}, warnings)
        folders[folder] = {dump.rank: dump for dump in first.dumps}
        others += rest
    sets = _jobs(folders)
    if others:
        sets = [DumpSet(one.label or "the largest set", one.dumps) for one in sets]
    return [*sets, *others], warnings


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause garbage collection: it would search the growing heap of entries over and over, and find nothing."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _read(file: Path, warnings: list[str]) -> Dump | None:
    try:
        about = file.stat()
        if about.st_size > MAX_BYTES:
            raise ReadError(f"{about.st_size >> 20} MiB; dumps above {MAX_BYTES >> 20} MiB are not read")
        rank = rank_of(file.name)
        data = file.read_bytes()
        dump, broken = parse(data, path=str(file), rank=-1 if rank is None else rank, written=about.st_mtime_ns)
    except OSError as error:
        warnings.append(f"{file}: {error.strerror or error}")
    except (ReadError, MemoryError) as error:
        warnings.append(f"{file}: {error}")
    else:
        if broken:
            warnings.append(f"{file}: {broken} entries are unreadable")
        return dump
    return None


def _renumber(read: list[tuple[Path, Dump]], warnings: list[str]) -> None:
    """Correct ranks that file names tell wrongly (numbered anew on each host), where the groups tell every one."""
    told = [_rank_told(dump) for _, dump in read]
    if None in told or len(set(told)) < len(told):
        return
    wrong = [(file, dump, rank) for (file, dump), rank in zip(read, told, strict=True) if rank != dump.rank]
    for file, dump, rank in wrong:
        dump.rank = dump.rank if rank is None else rank
        if len(wrong) <= TOLD:
            warnings.append(f"{file}: its groups are those of rank {rank}; taken as that rank's")
    if len(wrong) > TOLD:
        warnings.append(f"{wrong[0][0]} and {len(wrong) - 1} more: ranks are taken from their groups, not their names")


def _rank_told(dump: Dump) -> int | None:
    """Return the one rank that all groups of *dump* have in common, None if there is no such rank."""
    groups = [set(config.ranks) for config in dump.configs if config.ranks]
    common = set.intersection(*groups) if groups else set()
    return common.pop() if len(common) == 1 and len(groups) > 1 else None


def _apart(families: dict[str, dict[int, Dump]], warnings: list[str]) -> list[DumpSet]:
    """Sort a folder's families of names into jobs, the fullest first.

    Families without a rank in common are one job's, and so are twins, of one dump in two formats. Others are another
    job's, if their times overlap, else an earlier attempt's, which is left out.
    """
    order = sorted(families.items(), key=lambda item: (-_newest(item[1]), -len(item[1]), item[0]))
    sets: list[tuple[str, dict[int, Dump]]] = []
    for name, family in order:
        rivals = [one for _, one in sets if _differ(one, family)]
        same = next((one for _, one in sets if not _differ(one, family)), None)
        if rivals and all(_newest(family) < _oldest(one) for one in rivals):
            path = next(iter(family.values())).path
            warnings.append(f"{path}: {len(family)} dumps of an earlier run beside the others; left out")
        elif same is not None:
            same |= {rank: dump for rank, dump in family.items() if rank not in same}
        else:
            sets.append((name, dict(family)))
    sets.sort(key=lambda item: -len(item[1]))
    return [DumpSet(name, _sorted(one.values())) for name, one in sets]


def _differ(one: dict[int, Dump], other: dict[int, Dump]) -> bool:
    """Whether two families hold different dumps of the same ranks."""
    return any(one[rank].newest != dump.newest for rank, dump in other.items() if rank in one)


def _newest(family: dict[int, Dump]) -> int:
    return max(dump.newest for dump in family.values())


def _oldest(family: dict[int, Dump]) -> int:
    return min((dump.oldest for dump in family.values() if dump.oldest), default=0)


def _jobs(folders: dict[Path, dict[int, Dump]]) -> list[DumpSet]:
    overlap = sum(len(dumps) for dumps in folders.values()) > len({r for dumps in folders.values() for r in dumps})
    if overlap:
        return [DumpSet(folder.name, _sorted(dumps.values())) for folder, dumps in folders.items()]
    everything = [dump for dumps in folders.values() for dump in dumps.values()]
    return [DumpSet("", _sorted(everything))] if everything else []


def _sorted(dumps: Iterable[Dump]) -> list[Dump]:
    ordered: Sequence[Dump] = sorted(dumps, key=lambda dump: dump.rank)
    return list(ordered)
