"""Which ranks do the same work: told from their communicators and the paths they send on, when nobody says.

Ranks with the same communicators (sizes and beats) and the same sends and receives have the same role. Pipeline stages
differ so: the first sends up and receives from above, the last the other way round, those between do both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust

if TYPE_CHECKING:
    from offbeat.analyzer.engine.job import JobState

    Ints = np.ndarray[Any, np.dtype[np.int64]]

FEW = 16
"""Members from which one more or less does not move a median; below it, each is compared without itself."""


def infer(job: JobState) -> Ints:
    """Return a number for the role of each rank 0..n-1, -1 for ranks nothing is known of."""
    profile: dict[int, list[Any]] = {}
    for window in job.windows.values():
        beat = job.rhythm.known.get(window.comm)
        word = (len(window.members), beat.pattern if beat else ())
        for rank in window.members:
            profile.setdefault(rank, []).append(word)
    for _, src, dst in job.paths:
        # Where a pipeline closes its circle (interleaved stages) both ends do both, and are told apart by no one.
        profile.setdefault(src, []).append(("send", "up" if dst > src else "down"))
        profile.setdefault(dst, []).append(("recv", "up" if src > dst else "down"))
    numbers: dict[Any, int] = {}
    out = np.full(max(profile, default=-1) + 1, -1, np.int64)
    for rank, words in profile.items():
        stage = job.ranks[rank].stage if rank in job.ranks else None
        key = (stage, tuple(sorted(map(hash, words))))
        out[rank] = numbers.setdefault(key, len(numbers))
    return out


def relative(values: Any, roles: Ints) -> Any:
    """Return steps by ranks minus, for each step, the median of the *other* ranks of the same role; NaN for loners."""
    out = np.full(values.shape, np.nan)
    for role in np.unique(roles[roles >= 0]):
        mine = np.nonzero(roles == role)[0]
        part = values[:, mine]
        if len(mine) == 1:
            continue
        if len(mine) > FEW:
            out[:, mine] = part - _median(part)[:, None]
        else:
            others = np.stack([_median(np.delete(part, k, axis=1)) for k in range(len(mine))], axis=1)
            out[:, mine] = part - others
    return out


def _median(values: Any) -> Any:
    return np.median(values, axis=1) if np.isfinite(values).all() else robust.median(values.T)
