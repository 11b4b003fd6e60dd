"""Which periods of a beat belong together, by their times alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.analyzer.engine.bursts import blocks, find


def series(gaps, iterations, seed=0, jitter=0.0):
    """Return times of periods that come with *gaps* (ms) in every iteration."""
    noise = np.random.default_rng(seed).normal(1, jitter, iterations * len(gaps))
    return np.cumsum(np.tile(np.array(gaps, float), iterations) * noise) * 1e6


@pytest.mark.parametrize("jitter", [0.0, 0.05])
@pytest.mark.parametrize("gaps", [[100], [0, 0, 100], [5] * 19 + [100], [50, 50, 50, 200]])
def test_a_burst_is_found(gaps, jitter):
    """However many operations an iteration has, and however close they are: its number and its length are found."""
    burst = find(series(gaps, 8, jitter=jitter), 0)
    assert burst.periods == len(gaps)
    assert burst.span_ns == pytest.approx(sum(gaps) * 1e6, rel=0.1)


def test_it_begins_after_the_longest_gap():
    """The first of a burst is the one before which nothing came for longest, whatever number it has."""
    times = series([0, 100, 0], 8)  # gaps before numbers 7, 8, 9, ...
    burst = find(times, 7)
    long = [7 + k for k in range(1, len(times)) if times[k] - times[k - 1] > 50e6]
    assert {n % 3 for n in long} == {burst.offset}


def test_a_pause_changes_nothing():
    """A checkpoint between two iterations does not hide the rhythm of the others."""
    times = series([0, 0, 100], 16)
    times[24:] += 900e6
    assert find(times, 0).periods == 3


def test_jitter_is_no_burst():
    """Iterations that take now 100, now 250 ms, as on a busy host, are single ones all the same."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for count in (5, 10, 20, 40, 80):
            assert find(np.cumsum(rng.lognormal(5, 0.4, count)) * 1e6, 0).periods == 1


def test_no_rhythm():
    """Where many come at once at random, no burst is claimed; blocks then take as long as asked in the mean."""
    times = np.cumsum(np.random.default_rng(1).pareto(0.5, 64)) * 1e6
    assert find(times, 0) is None
    assert blocks(times, 1e9).span_ns >= 1e9


@given(st.lists(st.floats(0, 1e18), min_size=1, max_size=40), st.integers(0, 2**40))
def test_any_times(times, first):
    """Times of any kind give a burst of at least one period that takes time, or none."""
    starts = np.sort(np.array(times))
    burst = find(starts, first)
    assert burst is None or (burst.periods >= 1 and burst.span_ns > 0 and 0 <= burst.offset < burst.periods)
    assert blocks(starts, 1e9).periods >= 1
