"""Medians and spreads where entries are missing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from offbeat.analyzer.engine.robust import median, scatter, sigmas, spread

FLOATS = st.floats(-1e6, 1e6) | st.just(np.nan)


@given(arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=FLOATS))
def test_median_leaves_out_what_is_missing(values):
    """Each column's median is numpy's without its NaN entries, and NaN where nothing is left."""
    for k, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        expected = np.median(known) if len(known) else np.nan
        np.testing.assert_allclose(median(values)[k], expected, rtol=1e-9, atol=1e-9)


def test_one_outlier_does_not_widen_the_spread():
    """The spread is of the typical entry."""
    values = np.array([[1.0], [2.0], [3.0], [4.0], [1000.0]])
    assert spread(values)[0] < 2


def test_few_rows_that_agree_by_chance_are_not_trusted():
    """A column whose three rows happen to be equal is taken to differ as much as the others do."""
    values = np.array([[100.0, 98.0, 103.0, 99.0], [100.0, 101.0, 99.0, 104.0], [100.0, 103.0, 97.0, 101.0]])
    assert scatter(values)[0] > 1


def test_more_candidates_need_to_stand_out_by_more():
    """Of normal values as many as there are ranks, none reaches the bound by chance in a hundred draws."""
    random = np.random.default_rng(1)
    assert sigmas(8) < sigmas(64) < sigmas(16384)
    for count in (8, 64, 1024):
        assert random.standard_normal((100, count)).max() < sigmas(count)


def test_one_sick_row_among_few_does_not_hide_itself():
    """Few rows are taken to be as steady as the typical column is: a column with an odd one is no exception."""
    values = 100 + np.random.default_rng(1).normal(0, 1, (4, 50))
    values[3, 7] = 300
    assert scatter(values)[7] < 5
