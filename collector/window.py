"""The newest single operations, kept on the node for as long as they fit: what a drill-down is answered from."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from offbeat import records

if TYPE_CHECKING:
    from offbeat.orders import DrillDown


class Window:
    """Tables of operations in the order they were read, bounded by bytes."""

    def __init__(self, limit_bytes: int) -> None:
        """Keep up to *limit_bytes*; 0 keeps nothing."""
        self._limit = limit_bytes
        self._bytes = 0
        self._tables: deque[tuple[int, pa.Table]] = deque()

    @property
    def kept_from(self) -> int:
        """When the oldest that is kept was read, ns; 0 while there is nothing."""
        return self._tables[0][0] if self._tables else 0

    def keep(self, table: pa.Table, at: int) -> None:
        """Keep operations read at *at* (ns); the oldest give way."""
        if not self._limit or not table.num_rows:
            return
        self._tables.append((at, table))
        self._bytes += table.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._tables.popleft()[1].nbytes

    def find(self, wanted: DrillDown) -> pa.Table:
        """Return the operations that *wanted* names, as far as they are kept; of several copies all."""
        found = [records.schema("collectives").empty_table()]
        for _, table in self._tables:
            mine = pc.and_(pc.equal(table["comm"], wanted.comm), pc.equal(table["job"], wanted.job))
            mine = pc.and_(mine, pc.equal(table["attempt"], wanted.attempt))
            seq = pc.coalesce(table["seq"], table["p2p_seq"])
            inside = pc.and_(pc.greater_equal(seq, wanted.from_seq), pc.less_equal(seq, wanted.to_seq))
            found.append(table.filter(pc.and_(mine, inside)))
        return pa.concat_tables(found)
