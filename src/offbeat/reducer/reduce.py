"""The reducer: what was read of operations and transfers in, what is sent of them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.reducer import edges
from offbeat.reducer.blocks import Blocks
from offbeat.reducer.local import Local
from offbeat.reducer.operations import SEQS, Book, Operations, read
from offbeat.reducer.own import OwnTimes
from offbeat.reducer.vectors import Vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    Ints = np.ndarray[Any, np.dtype[np.int64]]

SECOND = 1_000_000_000
FORGET = 20_000
"""Streams, or kinds of operations, after which all is forgotten; restarts of jobs would fill an agent's memory."""


class Reducer:
    """Reduces what one reader (an agent, or a dump) sees; call it about once a second."""

    def __init__(self, run: int = 0) -> None:
        """Reduce in the name of the agent that began at *run*, ns."""
        self._run = run
        self._last = 0
        self._begin()

    def _begin(self) -> None:
        self._book = Book()
        self._own: dict[str | None, OwnTimes] = {}
        self._local = Local(self._book)
        self._blocks = Blocks(self._book, self._run)
        self._vectors = Vectors(self._book)
        self._open: Ints = np.zeros(0, np.int64)
        """Operations under way when last seen: stream times `SEQS` plus sequence number, sorted."""
        self._own_of_open: Ints = np.zeros(0, np.int64)

    def reduce(self, tables: Mapping[str, pa.Table], now: int) -> dict[str, pa.Table]:
        """Return *tables* with operations and transfers reduced.

        Of `collectives` and `transfers` there remain those under way, all of them, and what cannot be reduced. An
        operation comes once as ended; while it lasts it comes at every call.

        Args:
            tables: What was read since the last call.
            now: Unix ns.
        """
        if max(len(self._book.streams), len(self._book.kinds)) > FORGET:
            self._begin()
        out = dict(tables)
        if "memberships" in tables:
            self._local.learn(tables["memberships"])
        seconds = (now - self._last) / SECOND if self._last else 0.0
        self._last = now
        collectives = tables.get("collectives")
        ended = Operations.none()
        if collectives is not None:
            ended, kept = self._take(collectives)
            out["collectives"] = kept
        told, lateness, transfer = self._local.take(ended, now)
        out["vectors"] = self._vectors.take(ended, now, seconds)
        out["blocks"] = self._blocks.take(told, lateness, transfer, now, seconds)
        if "transfers" in tables:
            out["edge_blocks"], out["transfers"] = edges.reduce(tables["transfers"], now, self._run)
        return {name: table for name, table in out.items() if table.num_rows}

    def _take(self, table: pa.Table) -> tuple[Operations, pa.Table]:
        """Return the operations that have ended, their own times filled in, and the rows to be sent as they are."""
        rows, odd = read(table, self._book)
        ops = rows.operations
        key = ops.stream * SEQS + ops.seq  # in order, as `read` returns them
        known, place = _find(self._open, key)
        own = np.full(len(key), -1, np.int64)
        own[known] = self._own_of_open[place[known]]
        done = ops.leave > 0
        own[~known] = self._own_times(ops, ~known, done)
        # All that are under way are told each time, so what was not told is gone: its process has ended.
        self._open, self._own_of_open = key[~done], own[~done]
        as_they_are = np.sort(np.concatenate([rows.row[~done], odd]))
        return ops._replace(own=own).at(done), table.take(pa.array(as_they_are))

    def _own_times(self, ops: Operations, new: Any, done: Any) -> Ints:
        """Return the own time before each of the *new* operations; jobs are taken apart, for ranks repeat in them."""
        found = np.full(len(ops.seq), -1, np.int64)
        streams = self._book.streams
        jobs = [stream.job for stream in streams]
        rank = np.array([stream.rank for stream in streams], np.int64)
        for job in dict.fromkeys(jobs):
            of_job = np.array([each == job for each in jobs], bool)[ops.stream] if len(ops.seq) else np.zeros(0, bool)
            entries, ends = np.nonzero(of_job & new)[0], np.nonzero(of_job & done)[0]
            entered = (rank[ops.stream[entries]], ops.enter[entries])
            left = (rank[ops.stream[ends]], ops.leave[ends])
            found[entries] = self._own.setdefault(job, OwnTimes()).take(entered, left).own_of_entries()
        return np.asarray(found[new], np.int64)


def _find(held: Ints, wanted: Ints) -> tuple[Any, Ints]:
    """Return which of *wanted* are in *held* (sorted), and where."""
    place = np.minimum(np.searchsorted(held, wanted), max(len(held) - 1, 0))
    return (held[place] == wanted if len(held) else np.zeros(len(wanted), bool)), place
