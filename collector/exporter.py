"""The agent's own `/metrics`: off unless an address is given; what is shown is counted anyway, and read when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from offbeat.collector.exchange import Address
from offbeat.metrics import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.simple_server import WSGIServer

    from offbeat.collector.collection import Collection
    from offbeat.collector.outbox import Outbox
    from offbeat.collector.sources.rings import RingsSource
    from offbeat.collector.uplink import Uplink

Family = CounterMetricFamily | GaugeMetricFamily


class AgentMetrics(Collector):
    """What the agent has counted, as Prometheus reads it."""

    def __init__(self, outbox: Outbox, uplink: Uplink, rings: RingsSource, collection: Collection) -> None:
        """Show what these parts count."""
        self._outbox = outbox
        self._uplink = uplink
        self._rings = rings
        self._collection = collection

    def collect(self) -> Iterable[Family]:
        """Yield all of them."""
        batches, size = self._outbox.size()
        counts = self._outbox.counts
        values: dict[str, float] = {
            "offbeat_agent_spool_batches": batches,
            "offbeat_agent_spool_bytes": size,
            "offbeat_agent_delivered_batches_total": counts["delivered"],
            "offbeat_agent_lost_batches_total": self._outbox.lost(),
            "offbeat_agent_spool_write_errors_total": counts["write_errors"],
            "offbeat_agent_ring_lost_records_total": self._rings.overwritten(),
            "offbeat_agent_ranks": len(self._rings.ranks()),
            "offbeat_agent_service_up": self._uplink.reached,
        }
        for name, value in values.items():
            yield _family(name, {(): value})
        errors = dict(self._collection.errors)
        yield _family("offbeat_agent_source_errors_total", {(source,): count for source, count in errors.items()})


def serve(address: str, metrics: AgentMetrics) -> WSGIServer:
    """Answer at *address* (`127.0.0.1:9810`) in a thread of its own.

    Raises:
        ValueError: It is no address.
        OSError: It cannot be listened on.
    """
    where = Address.parse(address)
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    server, _ = start_http_server(where.port, where.host, registry)
    return server


def _family(name: str, values: Mapping[tuple[str, ...], float]) -> Family:
    metric = TABLE[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
