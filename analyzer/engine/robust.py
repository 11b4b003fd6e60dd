"""Medians and spreads of columns, where some entries are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]

MEDIAN = 1.253
"""Standard error of a median over that of a mean (normal distribution)."""
SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


def median(values: Floats) -> Floats:
    """Return the median of each column (first axis), NaN entries left out; NaN where a column has nothing else."""
    ordered = np.sort(values, axis=0)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum((count - 1) // 2, 0), count // 2
    high = np.minimum(high, len(ordered) - 1)
    picked = [np.take_along_axis(ordered, k[None, ...], axis=0)[0] for k in (low, high)]
    out = (picked[0] + picked[1]) / 2
    return np.where(count > 0, out, np.nan)


def sigmas(count: int) -> float:
    """Return how many standard deviations one of *count* must stand out by so as not to be the largest by chance.

    The largest of n normal values lies at about sqrt(2 ln n); two more, because it is asked again and again.
    """
    return 2.0 + float(np.sqrt(2 * np.log(max(count, 2))))


def spread(values: Floats) -> Floats:
    """Return the robust standard deviation of each column, NaN entries left out."""
    return SIGMA * median(np.abs(values - median(values)))


FEWER = 1.5
"""By how much the median deviation of few rows is taken for more: it is too small by chance most of the time."""
FEW = 8
"""Rows below which a column's median deviation says little of the column."""


def scatter(values: Floats) -> Floats:
    """Return how much each column's rows (in order of time) differ, as a standard deviation, sound for few rows too.

    None is taken to be steadier than the typical column is, as a share of its median. Of its own only the differences
    from one row to the next count, and only of many rows: what creeps is not unsteady, and one sick row among few would
    hide all that is sick.
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    known = np.isfinite(values).sum(axis=0)
    middle = np.abs(median(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = spread(values) / middle
    share = share[np.isfinite(share)]
    typical = float(np.median(share)) if len(share) else 0.0
    few = known < FEW
    own = np.where(few, 0.0, spread(np.diff(values, axis=0)) / np.sqrt(2))
    return np.where(known >= 2, np.fmax(own, typical * middle * np.where(few, FEWER, 1.0)), np.nan)
