"""Reading reports of NCCL's RAS."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import ras_report
from offbeat.collector.ras_report import MonitorStream

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["communicators", "hash", "size", "ranks", "missing_ranks", "rank", "status", "event", "peer"]
            )
            | st.text(max_size=6),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_any_report(value):
    """Whatever JSON comes, members that come out of it have a place; the rest is left out or a ValueError."""
    for report in (
        value,
        {"communicators": [value]},
        {"communicators": [{"hash": "0x1", "size": 2, "ranks": [value]}]},
    ):
        try:
            members = ras_report.read(json.dumps(report))
        except ValueError:
            continue
        ras_report.behind(members)
        assert all(0 <= member.place < member.size for member in members)


@given(st.text(max_size=100))
def test_any_text(text):
    """What is no report is a ValueError."""
    with pytest.raises(ValueError):
        ras_report.read(text + "]")


@given(st.lists(JSON.map(lambda value: {"event": "PEER_DEAD", "peer": value}), max_size=4), st.integers(1, 40))
def test_a_stream_in_pieces(events, size):
    """Events come out of the stream whole and in order, however it is cut; what stands between is left out."""
    text = "SERVER PROTOCOL 2\nOK\n" + "\n".join(json.dumps(event, indent=1) for event in events)
    stream, found = MonitorStream(), []
    for start in range(0, len(text), size):
        found += stream.feed(text[start : start + size])
    assert found == events
    for event in found:
        ras_report.peer(event)


def test_a_broken_stream():
    """What never becomes an event is dropped, and what comes after it is read."""
    stream = MonitorStream()
    assert stream.feed("{" * 70_000) == []
    assert stream.feed('\n{"event": "PEER_DEAD"}') == [{"event": "PEER_DEAD"}]
    assert len(stream._text) <= ras_report.MAX_EVENT


def test_nested_too_deeply():
    """A report that nests without end is no report."""
    with pytest.raises(ValueError):
        ras_report.read("[" * 200_000)
