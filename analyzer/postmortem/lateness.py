"""Late ranks and slow transfers from durations alone, as NCCL Inspector's plain logs give them.

While transport is healthy all members leave a collective together, so the one that arrives last has the shortest
duration, and by how much the others' are longer is how late it was. Without start times this cannot be told from
members that leave at different moments; so nothing here is certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.postmortem.phases import Phase, noise, stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Floats = np.ndarray[Any, np.dtype[np.float64]]

LEAST_CALLS = 8
"""Calls of a kind below which nothing is concluded: fewer have no base and no noise."""
HELD = 5
"""Blocks of calls that must agree, and at least the square root of all calls: one late call is jitter."""
RELATIVE = 0.02
"""Least lateness, as a share of the transfer time; less is in the noise of clocks and channels."""
ERRORS = 4.0
"""… and in standard errors of a block's mean."""
COST = 0.02
"""Least lateness as a share of the time from one call to the next: less costs the job nothing."""
COST_ALWAYS = 0.04
"""The same for a rank late from the first call on, which may be its role and no fault."""
GROWN = 1.2
"""Growth of the transfer time from which transfers count as slower."""


@dataclass(frozen=True, slots=True)
class Late:
    """A rank that came late to a phase in the calls `begin` to `end` (exclusive).

    `lateness` is how much longer than its own the others' durations are, `before` and `after` its own duration
    earlier and then (median, ns).
    """

    phase: Phase
    rank: int
    begin: int
    end: int
    lateness: float
    before: float
    after: float

    @property
    def always(self) -> bool:
        """Whether it was late from the first recorded call on."""
        return self.begin == 0

    @property
    def cost(self) -> float:
        """Lateness a second of the job's time, 0 where the calls' times are unknown."""
        return self.lateness / self.phase.cadence if self.phase.cadence else 0.0


def late_ranks(phases: Iterable[Phase]) -> list[Late]:
    """Return who came late to which phase, persistently."""
    return [late for phase in phases if len(phase) >= LEAST_CALLS for late in _late(phase)]


def _late(phase: Phase) -> Iterable[Late]:
    for column in range(len(phase.ranks)):
        others, own = np.delete(phase.duration, column, axis=1), phase.duration[:, column]
        rows = np.nonzero(np.isfinite(own) & np.isfinite(others).any(axis=1))[0]
        if len(rows) < LEAST_CALLS:
            continue
        gap = np.nanmedian(others[rows], axis=1) - own[rows]
        least, spread = RELATIVE * float(np.median(phase.transfer[rows])), noise(gap)
        first, stop = _stretch(gap, least, spread)
        if first == stop:
            continue
        late = Late(
            phase=phase,
            rank=int(phase.ranks[column]),
            begin=int(rows[first]) if first else 0,
            end=int(rows[stop - 1]) + 1,
            lateness=float(np.mean(gap[first:stop])),
            before=float(np.median(own[rows[:first]])) if first else float("nan"),
            after=float(np.median(own[rows[first:stop]])),
        )
        if not phase.cadence or late.cost >= (COST_ALWAYS if late.always else COST):
            yield late


def _stretch(gap: Floats, least: float, spread: float) -> tuple[int, int]:
    """Return the calls [first, stop) in which *gap* is above its bound, equal numbers where it never persists.

    Large lateness shows call by call; small lateness only in the mean of many. So blocks grow until one fits.
    """
    size = 1
    while size <= len(gap) // LEAST_CALLS:
        skipped = len(gap) % size
        blocks = gap[skipped:].reshape(-1, size).mean(axis=1)
        begin, end = stretch(blocks > max(least, ERRORS * spread / np.sqrt(size)))
        first, stop = (skipped + begin * size if begin else 0), skipped + end * size
        if end - begin >= HELD and stop - first >= np.sqrt(len(gap)) and _stands_out(gap, first, stop):
            return first, stop
        if ERRORS * spread / np.sqrt(size) <= least:
            break
        size *= 2
    return 0, 0


def _stands_out(gap: Floats, first: int, stop: int) -> bool:
    """Whether the stretch is above the rest by what the rest scatters, rare long delays included."""
    rest = np.delete(gap, slice(first, stop))
    if len(rest) < HELD:
        return True
    error = float(np.std(rest)) * np.sqrt(1 / (stop - first) + 1 / len(rest))
    return bool(np.mean(gap[first:stop]) - np.mean(rest) > ERRORS * error)


def roots(late: Sequence[Late], phases: Sequence[Phase]) -> list[int]:
    """Return the late ranks, without those that are late because they themselves waited elsewhere meanwhile."""
    found = []
    for rank in sorted({one.rank for one in late}):
        mine = [one for one in late if one.rank == rank]
        caused = sum(one.lateness * (one.end - one.begin) for one in mine)
        since = min(int(one.phase.seen[one.begin]) for one in mine)
        elsewhere = [phase for phase in phases if rank in phase.ranks and all(one.phase is not phase for one in mine)]
        if sum(_waited(phase, rank, since) for phase in elsewhere) < 0.5 * caused:
            found.append(rank)
    return found


def _waited(phase: Phase, rank: int, since: int) -> float:
    """Return how much longer than before *rank* waited for others in *phase* from *since* on, ns in all."""
    column = int(np.nonzero(phase.ranks == rank)[0][0])
    waited = phase.duration[:, column] - phase.transfer
    meanwhile = phase.seen >= since
    before = waited[~meanwhile & np.isfinite(waited)]
    usual = float(np.median(before)) if len(before) else 0.0
    return float(np.nansum(np.maximum(waited[meanwhile] - usual, 0.0)))


def grown(phases: Iterable[Phase]) -> list[tuple[Phase, float, float, int]]:
    """Return the phases whose transfers became longer for good: time before and after, ns, and from which call on."""
    found = []
    for phase in phases:
        transfer = phase.transfer
        if len(transfer) < 2 * LEAST_CALLS:
            continue
        base = float(np.median(transfer[: max(HELD, len(transfer) // 4)]))
        begin, end = stretch(transfer > max(GROWN * base, base + ERRORS * noise(transfer)))
        if begin and end - begin >= LEAST_CALLS and end == len(transfer):
            found.append((phase, base, float(np.median(transfer[begin:])), begin))
    return found
