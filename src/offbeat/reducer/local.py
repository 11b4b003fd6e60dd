"""Communicators wholly on one host: lateness and transfer of every operation, exactly, where all members are seen.

All members leave together, so that who waited longest came first: a member's lateness is the longest duration less its
own, and what the last to come waits is the transfer (ADR 0002).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.reducer.operations import NONE, Book, Operations

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    Ints = np.ndarray[Any, np.dtype[np.int64]]

PATIENCE_NS = 3_000_000_000
"""How long the operations of some members wait for those of the others; then they are told without lateness."""


class Local:
    """Operations of communicators whose members are all on this host, until every member has left them."""

    def __init__(self, book: Book) -> None:
        """Use the numbers of *book*."""
        self._book = book
        self._sizes: dict[tuple[str | None, int | None, str], int] = {}
        self._seen: dict[tuple[str | None, int | None, str], set[int]] = {}
        self._waiting = Operations.none()

    def learn(self, memberships: pa.Table) -> None:
        """Take memberships told on this host: a communicator is local once all of its members were."""
        wanted = memberships.select(["job", "attempt", "comm", "comm_rank", "n_ranks"])
        for row in wanted.to_pylist():
            key = row["job"], row["attempt"], row["comm"]
            self._sizes[key] = row["n_ranks"]
            self._seen.setdefault(key, set()).add(row["comm_rank"])

    def local(self) -> Mapping[tuple[str | None, int | None, str], int]:
        """Return the size of each communicator whose members are all here; those of one member say nothing."""
        return {key: size for key, size in self._sizes.items() if size == len(self._seen[key]) and size > 1}

    def take(self, ended: Operations, now: int) -> tuple[Operations, Ints, Ints]:
        """Take operations that have ended.

        Returns:
            Those that are to be told now, with the lateness and the transfer time of each, ns; -1 where not known.
        """
        size = self._size_of_streams()
        mine = size[ended.stream] > 0
        held = Operations.joined([self._waiting, ended.at(mine)])
        rest = ended.at(~mine)
        unknown = np.full(len(rest.seq), NONE, np.int64)
        if not len(held.seq):
            return rest, unknown, unknown
        comm = self._comm_of_streams()[held.stream]
        order = np.lexsort((held.seq, comm))
        held, comm = held.at(order), comm[order]
        starts = np.ones(len(comm), bool)
        starts[1:] = (comm[1:] != comm[:-1]) | (held.seq[1:] != held.seq[:-1])
        first, group = np.nonzero(starts)[0], np.cumsum(starts) - 1
        whole = np.bincount(group)[group] == size[held.stream]
        duration = held.leave - held.enter
        longest, shortest = np.maximum.reduceat(duration, first)[group], np.minimum.reduceat(duration, first)[group]
        told = whole | (now - held.leave > PATIENCE_NS)
        self._waiting = held.at(~told)
        lateness, transfer = np.where(whole, longest - duration, NONE), np.where(whole, shortest, NONE)
        return (
            Operations.joined([rest, held.at(told)]),
            np.concatenate([unknown, lateness[told]]),
            np.concatenate([unknown, transfer[told]]),
        )

    def _size_of_streams(self) -> Ints:
        local = self.local()
        streams = self._book.streams
        return np.array(
            [0 if s.peer is not None else local.get((s.job, s.attempt, s.comm), 0) for s in streams], np.int64
        )

    def _comm_of_streams(self) -> Ints:
        numbers: dict[tuple[str | None, int | None, str], int] = {}
        keys = [(s.job, s.attempt, s.comm) for s in self._book.streams]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
