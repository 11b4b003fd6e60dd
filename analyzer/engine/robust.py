"""Medians and spreads of columns, where some entries are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]

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


def spread(values: Floats) -> Floats:
    """Return the robust standard deviation of each column, NaN entries left out."""
    return SIGMA * median(np.abs(values - median(values)))


FEW = 8
"""Rows below which the median deviation is too small by chance most of the time."""


def scatter(values: Floats) -> Floats:
    """Return how much each column's rows differ, as a standard deviation, sound for few rows too.

    Columns with few rows say little each; none is taken to be steadier than the typical column is, as a share of its
    median.
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    known = np.isfinite(values).sum(axis=0)
    middle = median(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = np.sqrt(np.nansum((values - middle) ** 2, axis=0) / np.maximum(known - 1, 1))
        own = np.where(known < FEW, plain, spread(values))
        share = own / np.abs(middle)
    share = share[np.isfinite(share)]
    floor = float(np.sqrt(np.median(share**2))) * 1.2 if len(share) else 0.0
    return np.where(known >= 2, np.fmax(own, np.where(known < FEW, floor * np.abs(middle), 0.0)), np.nan)
