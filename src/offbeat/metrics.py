"""The registry of the product's own metrics: one table, read by the code, the docs and the tests.

A name that is not in `metrics.csv` cannot be counted: what nobody described, nobody can alert on.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from offbeat import __version__

REGISTRY = CollectorRegistry()
"""What `/metrics` shows. Not prometheus_client's global one, which other people's libraries write to as well."""


class UnknownMetricError(KeyError):
    """A metric that `metrics.csv` does not describe, or describes as another kind."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table; `kind` is counter, gauge or histogram (of seconds)."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def _read() -> dict[str, Metric]:
    text = resources.files("offbeat").joinpath("metrics.csv").read_text(encoding="utf-8")
    return {
        row["name"]: Metric(row["name"], row["kind"], tuple(row["labels"].split()), row["meaning"])
        for row in csv.DictReader(text.splitlines())
    }


TABLE = _read()
"""All metrics by name."""

# Else every counter has a twin that says when it began, which doubles a scrape and answers nothing here.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves this one untyped
# An agent has a registry of its own, made when it is asked to have one: `collector.exporter`.
_MINE = [m for m in TABLE.values() if not m.name.startswith("offbeat_agent_")]
# Made at import, all of them: what never happened is a 0 in the first scrape, and no two threads can make one twice.
_COUNTERS = {m.name: Counter(m.name, m.meaning, m.labels, registry=REGISTRY) for m in _MINE if m.kind == "counter"}
_GAUGES = {m.name: Gauge(m.name, m.meaning, m.labels, registry=REGISTRY) for m in _MINE if m.kind == "gauge"}
_HISTOGRAMS = {
    m.name: Histogram(m.name, m.meaning, m.labels, registry=REGISTRY) for m in _MINE if m.kind == "histogram"
}
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
_GAUGES["offbeat_build_info"].labels(__version__).set(1)


def counter(name: str) -> Counter:
    """Return the counter *name*.

    Raises:
        UnknownMetricError: The table has no such counter.
    """
    try:
        return _COUNTERS[name]
    except KeyError:
        raise UnknownMetricError(name) from None


def gauge(name: str) -> Gauge:
    """Return the gauge *name*.

    Raises:
        UnknownMetricError: The table has no such gauge.
    """
    try:
        return _GAUGES[name]
    except KeyError:
        raise UnknownMetricError(name) from None


def histogram(name: str) -> Histogram:
    """Return the histogram *name*, of seconds.

    Raises:
        UnknownMetricError: The table has no such histogram.
    """
    try:
        return _HISTOGRAMS[name]
    except KeyError:
        raise UnknownMetricError(name) from None
