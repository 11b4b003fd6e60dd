"""Which operations of a communicator are told one by one: all ranks choose the same, without asking one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiples of it are spread evenly (Knuth, The Art of Computer Programming, 6.4)."""
_SHIFT = np.uint64(40)
MOST = 20
"""Largest level: one of a million."""


def kept(seq: Ints, level: Ints | int) -> Mask:
    """Say which sequence numbers are among the one of 2^*level* that is kept.

    What is kept at a level is kept at all lower ones: ranks that differ in their level have the higher one's in common.
    """
    mixed = (seq.astype(np.uint64) * _GOLDEN) >> _SHIFT
    mask = (np.uint64(1) << np.asarray(level).astype(np.uint64)) - np.uint64(1)
    chosen: Mask = (mixed & mask) == 0
    return chosen


def level(rate: float, most: float) -> int:
    """Return the lowest level at which *rate* operations a second become *most* at the most."""
    return int(np.clip(np.ceil(np.log2(max(rate, 1e-9) / most)), 0, MOST))
