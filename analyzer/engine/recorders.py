"""Several recorders in one process: of each operation, the rows of one are used.

Torch's recorder sees the launch of an operation on a device, and NCCL's its beginning and end. In a process where both
run, the operations that torch runs on the device are left to NCCL's; those on the host only torch's recorder sees.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from offbeat.analyzer.engine.columns import ints, words

ON_DEVICE = "nccl"
"""The recorder that sees operations on a device begin and end."""


class Recorders:
    """Which ranks of a job NCCL's recorder tells of."""

    def __init__(self) -> None:
        self._since: dict[int, int] = {}

    def choose(self, rows: pa.Table) -> pa.Table:
        """Return the rows of `collectives` to be used.

        What was launched before NCCL's recorder was first heard is kept: its rows were taken already, and need an end.
        """
        sources, source = words(rows, "source")
        native = np.array([word == ON_DEVICE for word in sources], bool)[source] if sources else np.zeros(0, bool)
        native &= ints(rows, "device") <= 0  # where it, too, sees launches alone, it knows no better
        if not self._since and not native.any():
            return rows
        rank, seen = ints(rows, "rank"), ints(rows, "observed_at")
        for new in set(np.unique(rank[native]).tolist()) - self._since.keys():
            self._since[new] = int(seen[rank == new].max())
        launched = (ints(rows, "device") > 0) & ~native
        if not launched.any():
            return rows
        never = np.iinfo(np.int64).max
        since = np.array([self._since.get(r, never) for r in rank[launched].tolist()], np.int64)
        keep = np.ones(len(rank), bool)
        keep[launched] = ints(rows, "enqueued_at")[launched] <= since
        return rows.filter(pa.array(keep))
