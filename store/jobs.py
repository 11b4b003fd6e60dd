"""Jobs: what runs, its beat, and who was late."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from offbeat.store.rows import Beat, JobRank, JobRow, LatenessWindow
from offbeat.store.tables import Beats, Incidents, Jobs, Lateness

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from offbeat.store.engine import Database

_I32, _F32 = np.dtype("<i4"), np.dtype("<f4")


class JobStore:
    """Rows of jobs, and their series over time."""

    def __init__(self, database: Database) -> None:
        """Keep them in *database*."""
        self._database = database

    def upsert(self, row: JobRow) -> None:
        """Write *row* in place of what was known of the job; only `first_seen` stays the earliest."""
        values = asdict(row)
        values["hosts"], values["ranks"] = list(row.hosts), [asdict(rank) for rank in row.ranks]
        statement = self._database.insert(Jobs).values(values)
        changed = {name: value for name, value in values.items() if name not in {"id", "first_seen"}}
        earliest = sa.case((Jobs.first_seen < row.first_seen, Jobs.first_seen), else_=row.first_seen)
        with self._database.write(durable=False) as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=[Jobs.id], set_={**changed, "first_seen": earliest})
            )

    def list(self) -> tuple[JobRow, ...]:
        """Return all jobs, the last seen first."""
        with self._database.read() as connection:
            query = sa.select(Jobs).order_by(Jobs.last_seen.desc(), Jobs.id)
            return tuple(_job(row) for row in connection.execute(query))

    def get(self, job: str) -> JobRow | None:
        """Return the job *job*, None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(Jobs).where(Jobs.id == job)).one_or_none()
        return None if row is None else _job(row)

    def add_beats(self, job: str, attempt: int, rows: Sequence[Beat]) -> None:
        """Add iterations; one known already (same `at`) is left as it is."""
        if not rows:
            return
        values = [{"job": job, "attempt": attempt, "at": row.at, "iteration_ns": row.iteration_ns} for row in rows]
        with self._database.write(durable=False) as connection:
            connection.execute(self._database.insert(Beats).on_conflict_do_nothing(), values)

    def beats(
        self, job: str, since: int | None = None, until: int | None = None, points: int | None = None
    ) -> tuple[Beat, ...]:
        """Return iterations that ended from *since* to before *until* (ns), oldest first.

        Args:
            job: The job; all its attempts.
            since: Start, ns; None for the beginning.
            until: End, ns; None for now.
            points: At most about so many: of each stretch the longest iteration, so that no outlier is lost.
        """
        query = sa.select(Beats.at, Beats.iteration_ns).where(*_within(Beats, job, since, until)).order_by(Beats.at)
        with self._database.read() as connection:
            found = tuple(Beat(row.at, row.iteration_ns) for row in connection.execute(query))
        if points is None or len(found) <= points:
            return found
        stretch = -(-len(found) // max(points, 1))
        return tuple(
            max(found[start : start + stretch], key=lambda beat: beat.iteration_ns)
            for start in range(0, len(found), stretch)
        )

    def add_lateness(self, job: str, attempt: int, window: LatenessWindow) -> None:
        """Add a window, in place of one with the same `at`."""
        values = {
            "span_ns": window.span_ns,
            "ranks": np.ascontiguousarray(window.ranks, _I32).tobytes(),
            "lateness_ns": np.ascontiguousarray(window.lateness_ns, _F32).tobytes(),
            "own_ns": np.ascontiguousarray(window.own_ns, _F32).tobytes(),
        }
        statement = self._database.insert(Lateness).values(job=job, attempt=attempt, at=window.at, **values)
        with self._database.write(durable=False) as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[Lateness.job, Lateness.at, Lateness.attempt], set_=values
                )
            )

    def lateness(
        self, job: str, since: int | None = None, until: int | None = None, what: str = "lateness_ns"
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the windows that ended from *since* to before *until* (ns) as one matrix.

        Args:
            job: The job; all its attempts.
            since: Start, ns; None for the beginning.
            until: End, ns; None for now.
            what: `lateness_ns` or `own_ns`.

        Returns:
            Times i64[t] (ns, ascending), ranks i32[r] (ascending), values f32[t, r] (ns; NaN where there is no data).
        """
        column = {"lateness_ns": Lateness.lateness_ns, "own_ns": Lateness.own_ns}[what]
        query = sa.select(Lateness.at, Lateness.ranks, column).where(*_within(Lateness, job, since, until))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(Lateness.at)).all()
        members = [np.frombuffer(row[1], _I32) for row in rows]
        ranks = np.unique(np.concatenate([np.empty(0, _I32), *members])).astype(np.int32)
        values = np.full((len(rows), len(ranks)), np.nan, np.float32)
        for line, row, present in zip(values, rows, members, strict=True):
            line[np.searchsorted(ranks, present)] = np.frombuffer(row[2], _F32)
        return np.array([row.at for row in rows], np.int64), ranks, values

    def lateness_windows(
        self, job: str, since: int | None = None, until: int | None = None
    ) -> tuple[LatenessWindow, ...]:
        """Return the windows that ended from *since* to before *until* (ns) one by one, oldest first."""
        query = sa.select(Lateness).where(*_within(Lateness, job, since, until)).order_by(Lateness.at)
        with self._database.read() as connection:
            return tuple(
                LatenessWindow(
                    row.at,
                    row.span_ns,
                    np.frombuffer(row.ranks, _I32),
                    np.frombuffer(row.lateness_ns, _F32),
                    np.frombuffer(row.own_ns, _F32),
                )
                for row in connection.execute(query)
            )

    def expire(self, before: int, lateness_before: int) -> None:
        """Delete windows that ended before *lateness_before* (ns), and iterations and jobs from before *before* (ns).

        A job with incidents stays: they name it.
        """
        named = sa.exists().where(Incidents.job == Jobs.id)
        with self._database.write(durable=False) as connection:
            connection.execute(sa.delete(Lateness).where(Lateness.at < lateness_before))
            connection.execute(sa.delete(Beats).where(Beats.at < before))
            connection.execute(sa.delete(Jobs).where(Jobs.last_seen < before, ~named))


def _within(table: type[Beats | Lateness], job: str, since: int | None, until: int | None) -> list[Any]:
    terms: list[Any] = [table.job == job]
    if since is not None:
        terms.append(table.at >= since)
    if until is not None:
        terms.append(table.at < until)
    return terms


def _job(row: sa.Row[Any]) -> JobRow:
    values = row._asdict()
    values["hosts"], values["ranks"] = tuple(row.hosts), tuple(JobRank(**rank) for rank in row.ranks)
    return JobRow(**values)
