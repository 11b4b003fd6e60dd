"""How many periods of a beat belong together: operations come in bursts, and one iteration may hold several.

Three gradient buckets of one size are a beat of one operation to the eye that sees sizes only. Their times tell that
three belong together: from the first of a burst to the first of the next, it always takes about as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]

EXPLAINED = 0.35
"""What may be left of the differences between gaps once each is told by its place in the burst. Gaps without any burst
leave 0.6 of them where only three bursts were seen, as the typical one of three is always one of them."""
EVEN = 0.3
"""Least share of the mean that the typical gap is where periods come one by one; below, many come at once."""
REPEATS = 3
"""Bursts that must be seen; with fewer, any two gaps that are alike would be a rhythm."""
PAUSES = 32
"""Among so many gaps one is taken as no longer than the next longest: a checkpoint must not hide the rhythm."""


class Burst(NamedTuple):
    """`periods` that belong together, the first at a number that is `offset` modulo `periods`; they take `span_ns`.

    `seen` is how many periods it was found in.
    """

    periods: int
    offset: int
    span_ns: float
    seen: int


def find(starts: Floats, first: int) -> Burst | None:
    """Find the smallest number of periods by whose places in it the gaps between them are told.

    Args:
        starts: When consecutive periods began, ns.
        first: The number of the first of them.

    Returns:
        The burst, begun after its longest gap; None when many periods come at once without a rhythm.
    """
    gaps = np.diff(starts)
    if len(gaps) > PAUSES:
        longest = np.sort(gaps)
        gaps = np.minimum(gaps, longest[-1 - max(1, len(gaps) // PAUSES)])
    mean = float(gaps.mean()) if len(gaps) else 0.0
    if mean <= 0:
        return None
    apart = np.abs(gaps - np.median(gaps)).sum()
    even = float(np.median(gaps)) >= EVEN * mean
    number = first + 1 + np.arange(len(gaps))
    for count in range(2, len(gaps) // REPEATS + 1):
        if even and apart <= EVEN * gaps.sum():
            break
        place = number % count
        typical = np.array([np.median(gaps[place == k]) for k in range(count)])
        if np.abs(gaps - typical[place]).sum() <= EXPLAINED * apart:
            return Burst(count, int(typical.argmax()), mean * count, len(starts))
    return Burst(1, 0, mean, len(starts)) if even else None


def blocks(starts: Floats, least_ns: float) -> Burst:
    """Return as many periods, a power of two, as take *least_ns* in the mean: for streams without any rhythm."""
    mean = max(float(starts[-1] - starts[0]) / max(len(starts) - 1, 1), 1.0)
    count = 1 << max(0, int(np.ceil(np.log2(least_ns / mean))))
    return Burst(count, 0, mean * count, len(starts))
