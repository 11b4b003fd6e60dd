"""Durations of one kind of collective, call by call and member by member, and where in them something changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine.columns import ints, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

JOINT = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all"})
"""Operations that all members leave together; of the others some may leave early, so durations tell nothing."""
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Phase:
    """One operation of one size in one communicator.

    `duration` is calls by ranks, ns, NaN where a member's record is missing; `seen` when each call was written, ns.
    """

    comm: str
    op: str
    nbytes: int
    ranks: Ints
    number: Ints
    duration: Floats
    seen: Ints

    def __len__(self) -> int:
        return len(self.number)

    @property
    def label(self) -> str:
        """The phase in a few words."""
        return f"{self.op} of {self.nbytes} bytes"

    @property
    def transfer(self) -> Floats:
        """Per call the shortest duration: the last to arrive waits for nobody."""
        return np.asarray(np.nanmin(self.duration, axis=1))

    @property
    def cadence(self) -> float:
        """Mean time from one call to the next, ns; 0 for unknown."""
        known = self.seen[self.seen > 0]
        return float(known.max() - known.min()) / (len(self) - 1) if len(known) > 1 and len(self) > 1 else 0.0


def phases(collectives: pa.Table) -> Iterable[Phase]:
    """Yield the phases that at least two members recorded, in order of first appearance."""
    comms, comm = words(collectives, "comm")
    ops, op = words(collectives, "op")
    nbytes, rank = ints(collectives, "nbytes"), ints(collectives, "rank")
    number, took = ints(collectives, "fn_seq"), ints(collectives, "duration_ns")
    seen = ints(collectives, "observed_at")
    usable = (number >= 0) & (took > 0) & np.isin(op, [i for i, word in enumerate(ops) if word in JOINT])
    keys, inverse = np.unique(np.stack([comm, op, nbytes])[:, usable], axis=1, return_inverse=True)
    inverse = inverse.reshape(-1)
    rows = np.nonzero(usable)[0]
    order = np.argsort(inverse, kind="stable")
    for mine in np.split(rows[order], np.cumsum(np.bincount(inverse))[:-1]) if len(rows) else ():
        key = keys[:, inverse[np.searchsorted(rows, mine[0])]]
        ranks, column = np.unique(rank[mine], return_inverse=True)
        numbers, row = np.unique(number[mine], return_inverse=True)
        duration = np.full((len(numbers), len(ranks)), np.nan)
        duration[row, column] = took[mine]
        at = np.zeros(len(numbers), np.int64)
        np.maximum.at(at, row, seen[mine])
        shared = np.isfinite(duration).sum(axis=1) > 1
        if shared.any():
            yield Phase(comms[key[0]], ops[key[1]], int(key[2]), ranks, numbers[shared], duration[shared], at[shared])


def noise(series: Floats) -> float:
    """Return the standard deviation of *series* from one value to the next, whatever steps it takes."""
    steps = np.diff(series[np.isfinite(series)])
    if not len(steps):
        return 0.0
    return float(_MAD * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def stretch(flags: Any) -> tuple[int, int]:
    """Return the longest stretch [begin, end) of *flags* that is true for the most part, (0, 0) if there is none."""
    best, best_sum, begin, total = (0, 0), 0, 0, 0
    for i, flag in enumerate(flags):
        total += 1 if flag else -2
        if total <= 0:
            begin, total = i + 1, 0
        elif total > best_sum:
            best, best_sum = (begin, i + 1), total
    return best
