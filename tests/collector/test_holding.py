"""Samples held back: sent in pairs, all of them, in order."""

from hypothesis import given
from hypothesis import strategies as st

from offbeat import records
from offbeat.collector.holding import HOLD_NS, Holding

SECOND = 1_000_000_000


def gauge(value):
    """Return one gauge."""
    return records.build("gauges", {"at": [value], "host": ["h"], "metric": ["m"], "value": [float(value)]})


def test_samples_go_in_pairs_and_the_rest_at_once():
    """Every other second the samples of two seconds go; other tables do not wait."""
    holding, sent = Holding(), []
    beat = records.build("heartbeats", {"at": [1], "host": ["h"], "incarnation": [1]})
    for second in range(1, 5):
        out = holding.take(
            {"gauges": gauge(second), "heartbeats": beat}, second * SECOND * 3 // 4 * 2, everything=False
        )
        assert out["heartbeats"] is beat
        sent.append(out["gauges"]["at"].to_pylist() if "gauges" in out else [])
    assert sent == [[], [1, 2], [], [3, 4]]


@given(st.lists(st.tuples(st.integers(0, 3 * HOLD_NS), st.booleans(), st.booleans()), max_size=30))
def test_none_is_lost(calls):
    """Whatever is urgent when, each row is sent once and in order, and none is held for long while others come."""
    holding, sent, now, given_ = Holding(), [], SECOND, 0
    for number, (passed, some, urgent) in enumerate(calls):
        now += passed
        given_ += some
        tables = {"gauges": gauge(number)} if some else {}
        for table in holding.take(tables, now, everything=urgent).values():
            sent += table["at"].to_pylist()
    for table in holding.take({}, now, everything=True).values():
        sent += table["at"].to_pylist()
    assert sent == sorted(sent)
    assert len(sent) == given_
