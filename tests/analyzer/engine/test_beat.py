"""The period of a stream of operations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offbeat.analyzer.engine.beat import find


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(4, 9), st.integers(0, 40))
def test_any_repeated_pattern_is_found_with_no_longer_period(pattern, times, first):
    """A stream that repeats has a period no longer than its pattern, and its newest period is in phase."""
    codes = np.array(pattern * times)
    beat = find(codes, first)
    assert beat is not None
    assert beat.length <= len(pattern)
    newest = codes[-beat.length :]
    assert [
        beat.pattern[beat.phase(first + len(codes) - beat.length + k)] for k in range(beat.length)
    ] == newest.tolist()


def test_phases_do_not_depend_on_where_one_begins_to_look():
    """The same stream seen from another place gives the same phase to the same operation."""
    stream = np.array([3, 1, 1, 2] * 20)
    early, late = find(stream[:40], 0), find(stream[7:], 7)
    assert early.pattern == late.pattern
    assert [early.phase(s) for s in range(40, 60)] == [late.phase(s) for s in range(40, 60)]


def test_noise_has_no_beat():
    """A stream that never repeats is not given a period."""
    assert find(np.arange(64), 0) is None


def test_interruption_long_ago_does_not_hide_the_beat():
    """An evaluation in the middle of training leaves the newest periods as they were."""
    assert find(np.array([1, 2, 3] * 10 + [9, 9] + [1, 2, 3] * 20), 0).length == 3
