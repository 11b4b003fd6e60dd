"""Batches of records for tests."""

from offbeat import records, wire

T0 = 1_800_000_000_000_000_000


def gauges(values, *, job="train", attempt=1, host="node1", at=T0, step=1_000_000):
    """Return gauges, one a value, *step* ns apart."""
    count = len(values)
    return {
        "gauges": records.build(
            "gauges",
            {
                "job": [job] * count,
                "attempt": [attempt] * count,
                "at": [at + step * n for n in range(count)],
                "host": [host] * count,
                "metric": ["number"] * count,
                "value": [float(value) for value in values],
            },
        )
    }


def heartbeat(at, incarnation, host="node1"):
    """Return one heartbeat."""
    return {"heartbeats": records.build("heartbeats", {"at": [at], "host": [host], "incarnation": [incarnation]})}


def send(telemetry, n, tables, *, host="node1", incarnation=T0):
    """Let *telemetry* accept *tables* as batch *n*."""
    return telemetry.accept(host, incarnation, n, tables, wire.encode(tables))


def values(table):
    """Return the values of gauges, sorted."""
    return sorted(table.column("value").to_pylist())
