"""Bars from the figures of evidence."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat.figures import MOST, bars

CASES = json.loads((Path(__file__).parent / "figures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_what_can_be_compared_is_drawn(case):
    """Each case of the list that the dashboard's bars are held to as well."""
    assert [[bar.name, round(bar.length, 3), bar.text] for bar in bars(case["data"])] == case["bars"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["now_ms", "before_ms", "usual_ns", "share", "busy", "others", "max", "kinds", "rank"])


# A busy machine is no fault of the strategy.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_any_data_makes_bars_that_fit(data):
    """Whatever a rule puts there, bars have a length from 0 to 1 and are few."""
    made = bars(data)
    assert all(0 <= bar.length <= 1 for bar in made)
    assert len(made) <= max(MOST, len(data))
