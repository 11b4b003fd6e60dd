"""Transfers that stand still, by what the sender has posted and what got done."""

from offbeat.analyzer.engine.delays import Delays
from offbeat.analyzer.engine.stalls import Stalls
from offbeat.records import build

COLUMNS = ("seq", "channel", "src", "dst", "side", "ended_at", "steps_posted", "steps_done")


def transfers(*rows, comm="a"):
    """Return transfers of these columns."""
    table = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    return build("transfers", table | {"comm": [comm] * len(rows), "nbytes": [100] * len(rows)})


def test_posted_and_not_done():
    """An edge on which a step was posted and is not done stands still; one that waits for its GPU starves."""
    stalls = Stalls()
    stalls.take(transfers((7, 0, 2, 3, "send", None, 5, 4), (7, 0, 3, 4, "send", None, 4, 4)))
    stalls.take(transfers((7, 0, 5, 6, "send", None, 5, 4), comm="b"))
    assert stalls.edges({"a"}) == {(2, 3)}
    assert stalls.edges({"a", "b"}) == {(2, 3), (5, 6)}
    assert stalls.edges(set()) == set()


def test_receivers_do_not_count():
    """A receiver has always posted what has not come: that is no witness against its edge."""
    stalls = Stalls()
    stalls.take(transfers((7, 0, 2, 3, "recv", None, 5, 4)))
    assert stalls.edges({"a"}) == set()


def test_what_goes_on_is_forgotten():
    """A transfer that has ended since it was under way, or a later one of its edge, stands still no more."""
    stalls = Stalls()
    for seq in (7, 8):
        stalls.take(transfers((seq, 0, 2, 3, "send", None, 5, 4), (seq, 1, 2, 3, "send", None, 5, 4)))
    stalls.take(transfers((7, None, 2, 3, "send", 99, 9, 9)))
    assert stalls.edges({"a"}) == {(2, 3)}
    stalls.take(transfers((8, None, 9, 3, "send", 99, 9, 9), (8, None, 2, 3, "recv", 99, 9, 9)))
    assert stalls.edges({"a"}) == {(2, 3)}
    stalls.take(transfers((8, None, 2, 3, "send", 99, 9, 9)))
    assert stalls.edges({"a"}) == set()


def test_one_channel_is_enough():
    """Of several channels one stands still: the edge does."""
    stalls = Stalls()
    stalls.take(transfers((7, 0, 2, 3, "send", None, 4, 4), (7, 1, 2, 3, "send", None, 5, 4)))
    assert stalls.edges({"a"}) == {(2, 3)}


def test_delays_are_the_senders():
    """The delay matrix takes the sender's time on the wire alone: a receiver's holds its wait for a late sender."""
    delays = Delays()
    second = 1_000_000_000
    rows = [(k, None, 2, 3, side, k * second + 5, 1, 1) for k in range(1, 9) for side in ("send", "recv")]
    table = transfers(*rows)
    wire = [1000 if side == "send" else 50_000 for *_, side, _, _, _ in rows]
    columns = {name: table[name] for name in table.column_names if table[name].null_count < len(table)}
    delays.take(build("transfers", columns | {"wire_ns": wire, "started_at": [k[5] - 5 for k in rows]}))
    assert delays.edges == [(2, 3)]
    assert delays.now(6).tolist() == [10.0]
