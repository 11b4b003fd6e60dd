"""Operations that take longer than they ever should, by bounds learned from the job itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from offbeat.analyzer.engine.comm import CommWindow

    Times = np.ndarray[Any, np.dtype[np.int64]]

SECOND = 1_000_000_000
TIMES = 10.0
"""Multiples of the 99th percentile of its kind after which an operation is overdue."""
FLOOR_NS = 3 * SECOND
"""Least bound; a shorter one makes a swapping host or a slow garbage collection a hang."""
UNLEARNED_NS = 30 * SECOND
"""Bound of a kind seen too rarely to know; first iterations compile and connect."""
STOPPED_NS = SECOND
"""Bound where a member's process is known to be stopped: that is evidence by itself."""
ANNOUNCED_NS = 600 * SECOND
"""Bound while a member says it is in a checkpoint or an evaluation."""
LEARNED = 8
"""Completions of a kind after which its bound is learned."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The overdue operations of one communicator: `waiting` are the members inside, oldest first sequence `seq`."""

    window: CommWindow
    seq: int
    since: int
    age_ns: int
    bound_ns: int
    waiting: tuple[int, ...]
    missing: tuple[int, ...]
    """Members that have not entered `seq`."""
    behind: tuple[int, ...]
    """Members inside `seq` that, unlike most, launched nothing after it."""
    stuck: tuple[int, ...]
    """Members still inside an operation that the others have finished."""


def find(window: CommWindow, *, stopped: bool, announced: bool) -> Overdue | None:
    """Return what is overdue in *window*, None when nothing is.

    Ages are taken at the member's own host: when its recorder was last read, less when it entered.
    """
    rows, columns = window.open_cells()
    if not len(rows):
        return None
    known: dict[int, int] = {}
    for row in np.unique(rows):
        code = int(window.signature[row].max())
        known.setdefault(code, _bound(window, code, stopped=stopped, announced=announced))
    bounds = np.array([known[int(window.signature[r].max())] for r in rows])
    return _oldest(window, rows, columns, bounds)


def standing(window: CommWindow, age_ns: int) -> Overdue | None:
    """Return the oldest operation of *window* that has lasted *age_ns* at least, overdue or not."""
    rows, columns = window.open_cells()
    return _oldest(window, rows, columns, np.full(len(rows), age_ns)) if len(rows) else None


def by_host(windows: Iterable[CommWindow], host_of: Callable[[int], str]) -> dict[str, dict[str, float]]:
    """Return, by host with members in it, the shortest learned bound of each communicator in seconds."""
    found: dict[str, dict[str, float]] = {}
    for window in windows:
        codes = np.unique(window.signature[window.leave > 0])
        learned = [b for c in codes if (b := _bound(window, int(c), stopped=False, announced=False)) != UNLEARNED_NS]
        if learned and len(window.members) > 1:
            for host in {host_of(rank) for rank in window.members} - {""}:
                found.setdefault(host, {})[window.comm] = min(learned) / SECOND
    return found


def _oldest(window: CommWindow, rows: Times, columns: Times, bounds: Times) -> Overdue | None:
    age = window.seen[rows, columns] - window.enter[rows, columns]
    late = age >= bounds
    if not late.any():
        return None
    seqs = window.seq[rows]
    oldest = int(seqs[late].min())
    row = oldest % window.capacity
    inside = (window.enter[row] > 0) & (window.leave[row] == 0)
    missing = window.entered < oldest
    at = int(np.argmax(np.where(late & (seqs == oldest), age, -1)))
    return Overdue(
        window=window,
        seq=oldest,
        since=int(window.enter[rows[at], columns[at]]),
        age_ns=int(age[at]),
        bound_ns=int(bounds[at]),
        waiting=_names(window, inside),
        missing=_names(window, missing),
        # Only against those that are inside too: who left and went on says nothing of who still waits here.
        behind=_names(window, inside & (window.entered < np.median(window.entered[inside]))),
        stuck=_names(window, inside & ~missing) if (window.leave[row] > 0).sum() * 3 >= 2 * len(window.members) else (),
    )


def _names(window: CommWindow, mask: Any) -> tuple[int, ...]:
    return tuple(window.members[k] for k in np.nonzero(mask)[0])


def _bound(window: CommWindow, code: int, *, stopped: bool, announced: bool) -> int:
    if announced:
        return ANNOUNCED_NS
    same = (window.signature == code) & (window.leave > 0)
    if same.sum() < LEARNED * len(window.members):
        return STOPPED_NS * 5 if stopped else UNLEARNED_NS
    longest = float(np.percentile(window.leave[same] - window.enter[same], 99))
    if stopped:
        return int(max(TIMES / 2 * longest, STOPPED_NS))
    return int(max(TIMES * longest, FLOOR_NS))
