"""The period of a communicator's stream of operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Codes = np.ndarray[Any, np.dtype[np.int64]]

MATCH = 0.95
"""Share of operations that must repeat after one period (Greyhound, ATC'25: autocorrelation >= 0.95)."""
REPEATS = 3
"""Periods that must be seen; with fewer, any two equal operations in a row would be a beat."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A period of `length` operations; `anchor` is the first sequence number at which one begins."""

    length: int
    anchor: int
    pattern: tuple[int, ...]
    """What each operation of a period is; empty where a stream without a beat is cut into blocks of `length`."""
    coarse: bool = False
    """Whether the pattern tells kinds of operations only, their sizes changing all the time."""

    def first(self, seq: int) -> int:
        """Return where the period holding *seq* begins."""
        return seq - (seq - self.anchor) % self.length

    def phase(self, seq: int) -> int:
        """Return the position of *seq* in its period."""
        return (seq - self.anchor) % self.length


def find(codes: Codes, first_seq: int) -> Beat | None:
    """Find the smallest period of *codes*, the signatures of consecutive operations from *first_seq* on.

    Returns:
        The beat, begun at the rotation of its pattern that sorts first, so that the same stream gives the same
        phases whenever one begins to look; None when nothing repeats.
    """
    n = len(codes)
    for length in range(1, n // (REPEATS + 1) + 1):
        tail = codes[-length * (REPEATS + 1) :]
        # The newest periods decide: what came before (warm-up, another phase of the job) is not the beat now.
        if (
            np.mean(tail[length:] == tail[:-length]) >= MATCH
            and np.mean(codes[length:] == codes[:-length]) >= MATCH / 2
        ):
            pattern = tuple(int(c) for c in codes[-length:])
            rotation = min(range(length), key=lambda k: pattern[k:] + pattern[:k])
            anchor = (first_seq + n - length + rotation) % length
            return Beat(length, anchor, pattern[rotation:] + pattern[:rotation])
    return None
