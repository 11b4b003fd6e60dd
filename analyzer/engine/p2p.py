"""Sends and receives that have not ended: they explain why a rank is late elsewhere, and accuse nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from offbeat.analyzer.engine.job import JobState


@dataclass(frozen=True, slots=True)
class Waiting:
    """An open send or receive: *rank* waits for *peer*; `alone` while the peer has not come to it."""

    comm: str
    rank: int
    peer: int
    op: str
    seq: int
    entered_at: int
    seen_at: int
    alone: bool


def waits(job: JobState) -> dict[int, list[Waiting]]:
    """Return what each rank waits for now on its paths, longest first."""
    family = job.intake.families.get(("path", 2))
    found: dict[int, list[Waiting]] = {}
    if family is None:
        return found
    paths = {w.number: (key, w) for key, w in job.paths.items()}
    enter, leave = family.enter[:, : family.count], family.leave[:, : family.count]
    ended = np.where(leave > 0, family.seq[:, : family.count, None], -1).max(axis=0)
    for row, number, column in zip(*np.nonzero((enter > 0) & (leave == 0)), strict=True):
        (comm, src, dst), window = paths[int(number)]
        seq = int(family.seq[row, number])
        # Sends and receives of a path end in order: one that is older than another that ended was lost, not stuck.
        if seq < ended[number, column]:
            continue
        rank, peer = (src, dst) if column == 0 else (dst, src)
        waiting = Waiting(
            comm, rank, peer, "send" if column == 0 else "recv", seq, int(enter[row, number, column]),
            int(window.seen[row, column]), bool(family.entered[number, 1 - column] < seq),
        )  # fmt: skip
        found.setdefault(rank, []).append(waiting)
    for mine in found.values():
        mine.sort(key=lambda w: w.entered_at)
    return found
