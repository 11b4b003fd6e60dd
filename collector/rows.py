"""Rows of the two tables that most sources write: gauges and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offbeat import records

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from offbeat.collector.source import LocalRank

_GAUGE = ("job", "attempt", "at", "host", "rank", "device_kind", "device_id", "metric", "value")
_EVENT = ("job", "attempt", "at", "host", "rank", "device_kind", "device_id", "kind", "code", "message")
_MESSAGE_CHARACTERS = 2000
"""Longest message of an event; without it a program that raises with a huge text floods the wire."""


class Gauges:
    """Gauges of one host at one time (Unix ns)."""

    def __init__(self, host: str, at: int) -> None:
        """Start with no rows."""
        self._host = host
        self._at = at
        self._rows: list[tuple[Any, ...]] = []

    def add(
        self,
        device_kind: str,
        values: Mapping[str, float],
        *,
        device_id: str | None = None,
        rank: LocalRank | None = None,
    ) -> None:
        """Add one row for each metric of *values*."""
        job, attempt, number = _owner(rank)
        self._rows += [
            (job, attempt, self._at, self._host, number, device_kind, device_id, metric, value)
            for metric, value in values.items()
        ]

    def table(self) -> pa.Table:
        """Return the rows as a table that conforms to the registry."""
        return _table("gauges", _GAUGE, self._rows)


class Events:
    """Events of one host."""

    def __init__(self, host: str) -> None:
        """Start with no rows."""
        self._host = host
        self._rows: list[tuple[Any, ...]] = []

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._rows)

    def add(
        self,
        at: int,
        event: str,
        *,
        rank: LocalRank | None = None,
        device_kind: str | None = None,
        device_id: str | None = None,
        code: int | None = None,
        message: str | None = None,
    ) -> None:
        """Add an *event* that happened at *at* (Unix ns) to a rank or a device."""
        job, attempt, number = _owner(rank)
        text = None if message is None else message[:_MESSAGE_CHARACTERS]
        self._rows.append((job, attempt, at, self._host, number, device_kind, device_id, event, code, text))

    def table(self) -> pa.Table:
        """Return the rows as a table that conforms to the registry."""
        return _table("events", _EVENT, self._rows)


def _owner(rank: LocalRank | None) -> tuple[str | None, int | None, int | None]:
    if rank is None or not rank.job:
        return None, None, None
    return rank.job, rank.attempt, rank.rank if rank.rank >= 0 else None


def _table(name: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> pa.Table:
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return records.build(name, {column: list(values) for column, values in zip(columns, by_column, strict=True)})
