"""The census: whether every segment file of the catalogue is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.store import catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from offbeat.store.engine import Database


def missing(database: Database, directory: Path) -> tuple[int, list[str]]:
    """Return how many files the catalogue has, and the names of those that are not in *directory*.

    Raises:
        UnavailableError: The database does not answer.
    """
    with database.read() as connection:
        known = catalogue.files(connection)
    gone = [name for name in known if not (directory / name).exists()]
    if gone:
        # What was merged or expired since the catalogue was asked is not missing.
        with database.read() as connection:
            still = set(catalogue.files(connection))
        gone = [name for name in gone if name in still]
    return len(known), gone
