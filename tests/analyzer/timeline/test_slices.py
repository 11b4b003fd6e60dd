"""From recorded operations to slices and waits."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat import records
from offbeat.analyzer.timeline.slices import Slice, Wait, lay_out, newest, of_collectives, of_spans, waits

MS = 1_000_000
T0 = 1_800_000_000_000_000_000


def collectives(rows, **columns):
    """Return operations: (rank, seq, begin, end) in ms after T0, of one communicator."""
    return records.build(
        "collectives",
        {
            "job": ["train"] * len(rows),
            "attempt": [0] * len(rows),
            "comm": ["c0"] * len(rows),
            "rank": [rank for rank, *_ in rows],
            "seq": [seq for _, seq, *_ in rows],
            "op": ["all_reduce"] * len(rows),
            "nbytes": [4096] * len(rows),
            "started_at": [T0 + int(begin * MS) for *_, begin, _ in rows],
            "ended_at": [None if end is None else T0 + int(end * MS) for *_, end in rows],
            **columns,
        },
    )


def test_an_operation_that_was_sent_again_is_one_slice():
    """An open operation comes again and again; it stands as it was seen last."""
    data = collectives([(0, 7, 0, None), (0, 7, 0, 30), (0, 7, 0, None)], observed_at=[T0, T0 + 2, T0 + 1])
    (only,) = of_collectives(data, {"c0": "dp"})
    assert (only.track, only.name, only.end) == ("dp", "all_reduce", T0 + 30 * MS)
    assert only.figures == {"seq": 7, "nbytes": 4096}


def test_who_came_last_is_told_by_durations_not_by_clocks():
    """Rank 2's clock is a minute ahead, and rank 1, whose operation was short, is the one waited for."""
    minute = 60_000
    rows = [(0, 7, 0, 50), (1, 7, 45, 50), (2, 7, minute, minute + 50.2)]
    drawn = lay_out(of_collectives(collectives(rows), {}))
    place = {each.rank: n for n, each in enumerate(drawn)}
    assert waits(drawn, 10) == [Wait(place[2], place[1]), Wait(place[0], place[1])]
    assert waits(drawn, 1) == [Wait(place[2], place[1])]


def test_an_operation_that_is_not_over_accuses_nobody():
    """While somebody is still inside, the shortest duration means nothing."""
    drawn = lay_out(of_collectives(collectives([(0, 7, 0, None), (1, 7, 45, 50)]), {}))
    assert waits(drawn, 10) == []


def test_short_waits_are_no_arrows():
    """Members of a healthy collective wait for one another by less than a millisecond."""
    drawn = lay_out(of_collectives(collectives([(0, 7, 0, 5), (1, 7, 0.5, 5)]), {}))
    assert waits(drawn, 10) == []


def test_both_ends_of_a_transfer_are_one_operation():
    """A send and its receive are joined by communicator, direction and number."""
    data = collectives(
        [(3, None, 0, 9), (4, None, 5, 9)], op=["recv", "send"], peer=[4, 3], p2p_seq=[2, 2], seq=[None, None]
    )
    receive, send = of_collectives(data, {})
    assert receive.key == send.key == ("c0", 4, 3, 2)


def test_phases_are_slices_of_their_own_track():
    """Spans lie beside the communicators, those still open too."""
    values = {"job": ["j"], "attempt": [0], "rank": [1], "step": [3], "kind": ["forward"], "started_at": [T0]}
    (only,) = of_spans(records.build("spans", values))
    assert (only.rank, only.track, only.name, only.begin, only.end) == (1, "phases", "forward", T0, None)


STRETCHES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 50), st.none() | st.integers(0, 20)), max_size=30
)


# A busy machine is no fault of the strategy.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STRETCHES)
def test_slices_of_a_lane_never_overlap(stretches):
    """In each lane every slice ends before the next begins; an open one is the last of its lane."""
    made = [
        Slice(rank, track, "x", begin, None if length is None else begin + length, {})
        for rank, track, begin, length in stretches
    ]
    lanes = {}
    for each in lay_out(made):
        lanes.setdefault((each.rank, each.track, each.lane), []).append(each)
    for lane in lanes.values():
        for one, two in itertools.pairwise(lane):
            assert one.end is not None
            assert max(one.end, one.begin + 1) <= two.begin


def test_of_too_much_the_newest_is_read():
    """Reading goes back from the end, takes whole stretches only, and says since when it is complete."""
    second = 1000
    asked = []

    def read(begin, end):
        asked.append((begin, end))
        rows = [(0, n, n, n + 1) for n in range(0, 60 * second, 10) if begin < T0 + (n + 1) * MS and T0 + n * MS < end]
        return collectives(rows)

    data, complete = newest(read, T0, T0 + 60 * second * MS, 1000, None)
    assert len(data) <= 1000
    assert T0 + 48 * second * MS <= complete <= T0 + 55 * second * MS
    assert min(begin for begin, _ in asked) > T0 + 30 * second * MS
    everything, complete = newest(read, T0, T0 + 60 * second * MS, 10**6, [0])
    assert complete == T0
    assert len(of_collectives(everything, {})) == 6000
    assert len(newest(read, T0, T0 + 60 * second * MS, 10**6, [5])[0]) == 0


def test_of_a_second_with_too_much_the_last_rows_are_read():
    """Where the newest stretch alone is too long, what began last stays, and since when is told."""
    data, complete = newest(
        lambda *_: collectives([(0, n, n, n + 1) for n in range(900)]), T0, T0 + 900 * MS, 100, None
    )
    assert sorted(data.column("seq").to_pylist()) == list(range(800, 900))
    assert complete == T0 + 800 * MS
