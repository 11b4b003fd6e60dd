"""What a recorder in every rank would have written down: operations, transfers and spans, in true time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = np.ndarray[Any, np.dtype[Any]]

OPS = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "barrier", "send", "recv", "broadcast")
OPERATION = ("comm", "rank", "seq", "p2p_seq", "peer", "op", "nbytes", "enter", "leave")
TRANSFER = ("comm", "seq", "src", "dst", "nbytes", "began", "ended", "wire", "credit")
SPAN = ("rank", "step", "kind", "began", "ended")
SPANS = ("data", "forward", "backward", "optimizer", "gc", "checkpoint", "eval")


class Recording:
    """Rows in columns; times are ns since the job's start, infinite for what never came."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], list[list[Values]]] = {OPERATION: [], TRANSFER: [], SPAN: []}

    def operations(self, *columns: Any) -> None:
        """Add operations, columns as in `OPERATION`; scalars stand for all rows."""
        self._add(OPERATION, columns, "enter")

    def transfers(self, *columns: Any) -> None:
        """Add transfers, columns as in `TRANSFER`."""
        self._add(TRANSFER, columns, "began")

    def spans(self, *columns: Any) -> None:
        """Add spans, columns as in `SPAN`."""
        self._add(SPAN, columns, "began")

    def _add(self, names: tuple[str, ...], columns: Sequence[Any], begin: str) -> None:
        arrays = [np.asarray(a).reshape(-1) for a in np.broadcast_arrays(*columns)]
        there = np.isfinite(arrays[names.index(begin)].astype(np.float64))
        self._rows[names].append([a[there] for a in arrays])

    def columns(self, names: tuple[str, ...]) -> dict[str, Values]:
        """Return all rows of a kind, by column."""
        rows = self._rows[names]
        if not rows:
            return {name: np.zeros(0) for name in names}
        return {name: np.concatenate([r[k] for r in rows]) for k, name in enumerate(names)}
