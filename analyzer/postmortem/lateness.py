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
PEERS = 3
"""Ranks that make the same calls, below which all are compared: of two, neither shows which is usual."""
OWN = 0.3
"""Least growth of a late rank's own time, as a share of the largest: less, and ranks that merely waited are named."""
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
    """Return the late ranks whose own time is longer, without those that waited for somebody elsewhere meanwhile.

    Whoever waits in one communicator comes late to the next. But a step takes all ranks equally long, so what a rank
    spends in all its collectives together is the step less its own time: who lacks time there computed longer.
    """
    found = []
    for rank in sorted({one.rank for one in late}):
        worst = max((one for one in late if one.rank == rank), key=lambda one: one.lateness * (one.end - one.begin))
        own = _own(worst, phases)
        calm = [time for other, time in own.items() if all(one.rank != other for one in late)]
        most = max((own[one.rank] for one in late if one.rank in own), default=0.0)
        bound = max(ERRORS * float(np.std(calm)) if len(calm) > 1 else 0.0, OWN * most)
        if rank not in own or own[rank] > bound:
            found.append(rank)
    return found


def _own(late: Late, phases: Sequence[Phase]) -> dict[int, float]:
    """Return by how much each rank's own time grew when *late* began, ns over the whole log, against most ranks.

    For a rank late from the first call on, its own time itself; then only ranks that make the same calls can be
    compared, and it is empty where there are too few.
    """
    spent: dict[int, float] = {}
    calls: dict[int, list[tuple[str, int, int]]] = {}
    first, last = late.begin / len(late.phase), late.end / len(late.phase)
    for phase in phases:
        begin, end = round(first * len(phase)), max(round(last * len(phase)), 1)
        rest = np.r_[phase.duration[:begin], phase.duration[end:]]
        change = _mean(phase.duration[begin:end]) - (0.0 if late.always else _mean(rest))
        for rank, value in zip(phase.ranks.tolist(), change * len(phase), strict=True):
            spent[rank] = spent.get(rank, 0.0) + float(np.nan_to_num(value))
            calls.setdefault(rank, []).append((phase.op, phase.nbytes, len(phase)))
    mine = sorted(calls[late.rank])
    peers = {rank: time for rank, time in spent.items() if sorted(calls[rank]) == mine}
    if len(peers) >= PEERS:  # others make other calls, or some of theirs were recorded by them alone
        spent = peers
    elif late.always:
        return {}
    most = float(np.percentile(list(spent.values()), 75, method="higher"))
    return {rank: most - time for rank, time in spent.items()}


def _mean(durations: Floats) -> Floats:
    """Return the mean of each column, 0 where nothing is known."""
    known = np.isfinite(durations)
    return np.asarray(np.where(known, durations, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


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
