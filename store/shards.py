"""Who watches which job: jobs are spread over shards by name, and each shard has one worker at a time."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOSTS = 100_000
"""Hosts whose jobs are remembered, the last heard first; without a bound made-up names fill the memory."""


def shard_of(job: str, shards: int) -> int:
    """Return the shard of *job*, of *shards*: the same in every process and version."""
    return zlib.crc32(job.encode()) % shards


def topic(shard: int) -> str:
    """Return the topic of a shard's telemetry."""
    return f"telemetry.{shard}"


class Router:
    """Says which shards must see a batch, and which of its rows."""

    def __init__(self, shards: int) -> None:
        """Spread over *shards*."""
        self._shards = shards
        self._of_host: OrderedDict[str, frozenset[int]] = OrderedDict()

    def split(self, host: str, tables: Mapping[str, pa.Table]) -> Iterator[tuple[int, Mapping[str, pa.Table]]]:
        """Yield each shard and the tables it must see.

        Rows of a job go to its shard. Rows of no job describe the host: they go to the shards of all jobs that the
        batch names, else of those the host was last heard to run.
        """
        by_shard: dict[int, list[str]] = {}
        for job in self._jobs(tables):
            by_shard.setdefault(shard_of(job, self._shards), []).append(job)
        if by_shard:
            self._remember(host, frozenset(by_shard))
        else:
            for shard in self._of_host.get(host, frozenset({shard_of(host, self._shards)})):
                yield shard, tables
            return
        for shard, jobs in by_shard.items():
            yield shard, tables if len(by_shard) == 1 else _of(tables, jobs)

    def _remember(self, host: str, shards: frozenset[int]) -> None:
        self._of_host[host] = shards
        self._of_host.move_to_end(host)
        while len(self._of_host) > HOSTS:
            self._of_host.popitem(last=False)

    @staticmethod
    def _jobs(tables: Mapping[str, pa.Table]) -> set[str]:
        return {
            job for table in tables.values() for job in pc.unique(table.column("job")).to_pylist() if job is not None
        }


def _of(tables: Mapping[str, pa.Table], jobs: list[str]) -> dict[str, pa.Table]:
    found: dict[str, Any] = {}
    for name, table in tables.items():
        job = table.column("job")
        kept = table.filter(pc.or_(pc.is_in(job, pa.array(jobs, pa.string())), pc.is_null(job)))
        if kept.num_rows:
            found[name] = kept
    return found
