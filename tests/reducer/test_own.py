"""Own times: what passed between a rank's last event and the operation it enters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offbeat.reducer import OwnTimes


def own(operations):
    """Return own times of (rank, enter, leave) operations given in one batch."""
    rank, enter, leave = (np.array(c, np.int64) for c in zip(*operations, strict=True))
    return OwnTimes().take((rank, enter), (rank, leave)).own_of_entries().tolist()


def test_time_between_operations_is_a_ranks_own():
    """Own time runs from leaving one operation to entering the next; before the first one nothing is known."""
    assert own([(0, 100, 120), (0, 150, 170), (0, 180, 200)]) == [0, 30, 10]


def test_ranks_have_times_of_their_own():
    """What another rank does in between changes nothing."""
    assert own([(0, 100, 120), (1, 110, 140), (0, 150, 170), (1, 200, 210)]) == [0, 0, 30, 60]


def test_an_operation_under_way_overlaps():
    """While one operation is under way, entering another ends the rank's own time since the entry of the first."""
    assert own([(0, 100, 500), (0, 160, 300), (0, 400, 450)]) == [0, 60, 100]


def test_batches_go_on_where_the_last_one_ended():
    """The last event of a batch is the first one's before of the next."""
    times = OwnTimes()
    times.take((np.array([3]), np.array([100])), (np.array([3]), np.array([130])))
    events = times.take((np.array([3]), np.array([170])), (np.array([], np.int64), np.array([], np.int64)))
    assert events.own_of_entries().tolist() == [40]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10**6), st.integers(0, 10**5)), min_size=1, max_size=40))
def test_own_times_fit_into_the_time_there_was(operations):
    """Whatever the operations: none is negative, and a rank's sum is no longer than its span."""
    operations = [(rank, enter, enter + length) for rank, enter, length in operations]
    found = own(operations)
    assert min(found) >= 0
    for rank in {o[0] for o in operations}:
        mine = [o for o in operations if o[0] == rank]
        total = sum(t for t, o in zip(found, operations, strict=True) if o[0] == rank)
        assert total <= max(o[2] for o in mine) - min(o[1] for o in mine)
