"""Lengths of time in 16 bits: logarithms, so that a millisecond and an hour are kept to the same part of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Codes = np.ndarray[Any, np.dtype[np.uint16]]

UNIT_NS = 1000.0
"""Lengths well below this are kept to a few nanoseconds, well above it to a part of themselves."""
PER_E = 2750.0
"""Codes a factor of e: one step is 0.036 %, so the error is at most 0.019 %; the largest code is six hours."""
UNKNOWN = (1 << 16) - 1
"""The code of a length that nobody knows."""
_LARGEST = UNKNOWN - 1


def encode(lengths: Ints) -> Codes:
    """Return the codes of *lengths* (ns); negative ones are unknown."""
    code = np.rint(np.log1p(np.maximum(lengths, 0) / UNIT_NS) * PER_E)
    return np.where(lengths < 0, UNKNOWN, np.minimum(code, _LARGEST)).astype(np.uint16)


def decode(codes: Codes) -> Ints:
    """Return the lengths (ns) that *codes* stand for, -1 where unknown."""
    lengths = np.rint(np.expm1(codes / PER_E) * UNIT_NS).astype(np.int64)
    return cast("Ints", np.where(codes == UNKNOWN, -1, lengths))
