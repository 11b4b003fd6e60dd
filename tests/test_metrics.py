"""The registry of metrics."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.exposition import generate_latest

from offbeat import metrics


def test_an_unregistered_name_raises():
    """What the table does not describe cannot be counted."""
    with pytest.raises(metrics.UnknownMetricError):
        metrics.counter("offbeat_nobody_described_this_total")


def test_a_name_keeps_its_kind():
    """A counter cannot be used as a gauge."""
    with pytest.raises(metrics.UnknownMetricError):
        metrics.gauge("offbeat_api_requests_total")


@pytest.mark.parametrize("metric", metrics.TABLE.values(), ids=lambda m: m.name)
def test_names_follow_prometheus_habits(metric):
    """Names carry product and unit, counters end in _total, and every one has a sentence."""
    assert re.fullmatch(r"offbeat_[a-z_]+", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.meaning.endswith(".")


def test_every_metric_is_in_the_first_scrape():
    """A scrape right after start shows each name, so that alerts on absence work."""
    text = generate_latest(metrics.REGISTRY).decode()
    for name in (name for name in metrics.TABLE if not name.startswith("offbeat_agent_")):
        assert f"# TYPE {name.removesuffix('_total')} " in text
