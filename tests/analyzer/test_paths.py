"""The delay matrix from stored readings of connections."""

from offbeat import records
from offbeat.analyzer.engine.facts import Hosts
from offbeat.analyzer.paths import paths

SECOND = 10**9
T0 = 1_800_000_000 * SECOND
SPLIT = T0 + 60 * SECOND


def edges(connections):
    """Return readings, one a second for 75 s: (host, address, peer, bytes/s, rtt before and from SPLIT on, ms)."""
    rows = []
    for host, src, dst, sent, before, now in connections:
        for n in range(76):
            at = T0 + n * SECOND
            values = {
                "rtt_us": 1000 * (now if at >= SPLIT else before),
                "bytes_acked": sent * n,
                "busy_us": 500_000 * n,
                "total_retrans": 2 * n if now > before else 0,
            }
            rows += [(at, host, src, dst, metric, float(value)) for metric, value in values.items()]
    return records.build(
        "edges",
        {
            "job": ["train"] * len(rows),
            "attempt": [0] * len(rows),
            "at": [row[0] for row in rows],
            "src_host": [row[1] for row in rows],
            "src_rank": [0] * len(rows),
            "src_addr": [row[2] for row in rows],
            "dst_addr": [row[3] for row in rows],
            "kind": ["tcp"] * len(rows),
            "metric": [row[4] for row in rows],
            "value": [row[5] for row in rows],
        },
    )


def hosts():
    """Return who has which address."""
    known = Hosts()
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")):
        known.get(name).addresses = frozenset([address])
    return known


def test_a_slow_path_stands_against_its_own_past():
    """From a to b the round trip grew from 1 to 41 ms, from a to c it did not; an idle connection is left out."""
    found = paths(
        edges(
            [
                ("a", "10.0.0.1:1", "10.0.0.2:9", 10**8, 1, 41),
                ("a", "10.0.0.1:2", "10.0.0.2:9", 10**8, 1, 30),
                ("a", "10.0.0.1:3", "10.0.0.3:9", 10**8, 2, 2),
                ("b", "10.0.0.2:4", "10.0.0.3:9", 10**3, 1, 900),
            ]
        ),
        hosts(),
        SPLIT,
    )
    assert [(p.src_host, p.dst_host, p.connections, p.rtt_us, p.usual_rtt_us) for p in found] == [
        ("a", "b", 2, 41_000, 1_000),
        ("a", "c", 1, 2_000, 2_000),
    ]
    assert found[0].busy == 0.5
    assert found[0].retransmits == 4
    assert found[1].retransmits == 0


def test_within_a_host_there_is_no_path():
    """Connections to the own host, and to addresses that no host of the job has, are no cells."""
    within = ("a", "10.0.0.1:1", "10.0.0.1:9", 10**8, 1, 1)
    outside = ("a", "10.0.0.1:2", "192.0.2.1:443", 10**8, 1, 1)
    assert paths(edges([within, outside]), hosts(), SPLIT) == []


def test_a_path_that_is_new_has_no_past():
    """What was not seen before is not called usual."""
    late = edges([("a", "10.0.0.1:1", "10.0.0.2:9", 10**8, 1, 1)])
    fresh = late.filter([at >= SPLIT for at in late.column("at").to_pylist()])
    (only,) = paths(fresh, hosts(), SPLIT)
    assert only.usual_rtt_us is None
