"""Lengths in 16 bits: kept to a part in five thousand, or to a few nanoseconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offbeat.reducer import codes


@given(st.lists(st.integers(0, 6 * 3_600_000_000_000)))
def test_lengths_come_back(lengths):
    """What comes back is off by two parts in ten thousand at most; what is short, by a fraction of a microsecond."""
    values = np.array(lengths, np.int64)
    back = codes.decode(codes.encode(values))
    assert (np.abs(back - values) <= 2e-4 * values + 1).all()


def test_unknown_and_too_long():
    """Unknown stays unknown, and what is longer than the largest code is as long as that."""
    assert codes.decode(codes.encode(np.array([-1, 1 << 60]))).tolist()[0] == -1
    assert codes.decode(codes.encode(np.array([1 << 60])))[0] > 6 * 3_600_000_000_000


@given(st.lists(st.integers(0, 1 << 44), min_size=2))
def test_order_is_kept(lengths):
    """Codes are in the order of the lengths."""
    values = np.sort(np.array(lengths, np.int64))
    assert (np.diff(codes.encode(values).astype(np.int64)) >= 0).all()
