"""From what the store gives to what the API says."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offbeat.store import JobRow

SECOND = 1_000_000_000


def job(row: JobRow, open_incidents: int) -> dict[str, Any]:
    """Return the JSON form of a job."""
    return {
        "id": row.id,
        "name": row.name or row.id,
        "attempt": row.attempt,
        "world": row.world,
        "hosts": list(row.hosts),
        "simulated": row.simulated,
        "state": row.state,
        "first_seen": row.first_seen,
        "last_seen": row.last_seen,
        "iteration_seconds": None if row.iteration_ns is None else row.iteration_ns / SECOND,
        "open_incidents": open_incidents,
    }


def job_detail(row: JobRow, open_incidents: int) -> dict[str, Any]:
    """Return the JSON form of a job with its ranks."""
    return {**job(row, open_incidents), "ranks": [asdict(rank) for rank in row.ranks]}
