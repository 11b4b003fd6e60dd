"""The catalogue: which segment file holds which records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from offbeat.store.segments import DESCRIBING, Part
from offbeat.store.tables import Segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MERGE_FILES = 12
"""Files of one table and level that become one; without merging, a table leaves a file every few seconds for ever."""
MERGE_ROWS = 2_000_000
"""Rows that one merge may bring together; without it merging would need as much memory as a busy hour has records."""
LEVELS = 2
"""How often a row is merged; each level divides the number of files by `MERGE_FILES` and writes every row again."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one table and level that should become one; the last of their records was received at `received_at`."""

    record: str
    level: int
    paths: list[str]
    received_at: int


def add(connection: sa.Connection, parts: Sequence[Part]) -> None:
    """Enter *parts*."""
    if parts:
        connection.execute(sa.insert(Segments), [asdict(part) for part in parts])


def paths(
    connection: sa.Connection,
    record: str,
    *,
    job: str | None,
    attempt: int | None,
    since: int | None,
    until: int | None,
) -> list[str]:
    """Return the files that may hold records of that job and attempt between *since* and *until* (ns), oldest first."""
    query = sa.select(Segments.path, sa.func.min(Segments.id).label("first")).where(Segments.record == record)
    if job is not None:
        query = query.where(Segments.job == job)
    if attempt is not None:
        query = query.where(Segments.attempt == attempt)
    if since is not None:
        query = query.where(Segments.to_at.is_(None) | (Segments.to_at >= since))
    if until is not None:
        query = query.where(Segments.from_at.is_(None) | (Segments.from_at < until))
    return [row.path for row in connection.execute(query.group_by(Segments.path).order_by("first"))]


def files(connection: sa.Connection) -> list[str]:
    """Return the names of all files."""
    return list(connection.execute(sa.select(Segments.path).distinct().order_by(Segments.path)).scalars())


def mergeable(connection: sa.Connection) -> Merge | None:
    """Return what should be merged next, None when nothing is due."""
    query = (
        sa.select(Segments.record, Segments.level)
        .where(Segments.level < LEVELS)
        .group_by(Segments.record, Segments.level)
        .having(sa.func.count(Segments.path.distinct()) >= MERGE_FILES)
        .limit(1)
    )
    due = connection.execute(query).one_or_none()
    if due is None:
        return None
    files = connection.execute(
        sa.select(
            Segments.path, sa.func.sum(Segments.rows).label("rows"), sa.func.max(Segments.received_at).label("at")
        )
        .where(Segments.record == due.record, Segments.level == due.level)
        .group_by(Segments.path)
        .order_by(sa.func.min(Segments.id))
        .limit(MERGE_FILES)
    ).all()
    chosen, rows = [files[0]], files[0].rows
    for file in files[1:]:
        if rows + file.rows > MERGE_ROWS:
            break
        chosen.append(file)
        rows += file.rows
    return Merge(due.record, due.level, [file.path for file in chosen], max(file.at for file in chosen))


def replace(connection: sa.Connection, old: Sequence[str], parts: Sequence[Part]) -> bool:
    """Enter *parts* in place of the files *old*; False when one of those is no longer there, and nothing is done."""
    found = connection.execute(sa.select(Segments.path).where(Segments.path.in_(old)).with_for_update())
    if set(found.scalars()) != set(old):
        return False
    connection.execute(sa.delete(Segments).where(Segments.path.in_(old)))
    add(connection, parts)
    return True


def raise_level(connection: sa.Connection, path: str) -> None:
    """Count *path* as merged: it needs no company, or cannot have any."""
    connection.execute(sa.update(Segments).where(Segments.path == path).values(level=Segments.level + 1))


def expire(connection: sa.Connection, before: int) -> list[str]:
    """Remove files received before *before* (ns) and return their names.

    What describes a job stays as long as anything measured of it does.
    """
    gone = list(
        connection.execute(
            sa.select(Segments.path).distinct().where(Segments.received_at < before, Segments.record.not_in(DESCRIBING))
        ).scalars()
    )
    measured = aliased(Segments)
    alive = sa.exists().where(
        measured.job == Segments.job, measured.record.not_in(DESCRIBING), measured.received_at >= before
    )
    old = sa.select(Segments.path, sa.func.max(sa.case((alive, 1), else_=0)).label("alive")).where(
        Segments.received_at < before, Segments.record.in_(DESCRIBING)
    )
    gone += [row.path for row in connection.execute(old.group_by(Segments.path)) if not row.alive]
    for start in range(0, len(gone), 500):  # SQLite bounds the number of parameters
        connection.execute(sa.delete(Segments).where(Segments.path.in_(gone[start : start + 500])))
    return gone


def unknown(connection: sa.Connection, names: Iterable[str]) -> list[str]:
    """Return those of *names* that no entry refers to."""
    known = set(connection.execute(sa.select(Segments.path).distinct()).scalars())
    return [name for name in names if name not in known]
