"""The reducer: what must not be reduced stays, and own times are carried from entry to end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.reducer.operations import MS, SECOND, T0, collectives, steady

from offbeat import records
from offbeat.reducer import Reducer, codes
from offbeat.reducer import reduce as module


def own(tables):
    """Return own times by sequence number, as vectors tell them."""
    found = {}
    for row in tables["vectors"].to_pylist():
        seq = row["first_seq"] + np.cumsum(row["seq_step"])
        found |= dict(zip(seq.tolist(), codes.decode(np.array(row["own"], np.uint16)).tolist(), strict=True))
    return found


def test_open_operations_stay():
    """Every operation under way is told as it is, once: the copy seen last."""
    rows = steady(3)
    seen = [{**rows[2], "ended_at": None, "observed_at": T0 + n} for n in range(4)]
    tables = Reducer().reduce({"collectives": collectives([*rows[:2], *seen])}, T0)
    assert tables["collectives"].select(["seq", "observed_at"]).to_pylist() == [{"seq": 2, "observed_at": T0 + 3}]
    assert sum(row["n"] for row in tables["blocks"].to_pylist()) == 2


def test_own_time_is_that_of_the_entry():
    """An operation first seen under way has, when it ends, the own time that was before its entry."""
    reducer, rows = Reducer(), steady(3)
    reducer.reduce({"collectives": collectives([rows[0], {**rows[1], "ended_at": None}])}, T0)
    found = own(reducer.reduce({"collectives": collectives(rows[1:])}, T0 + SECOND))
    assert abs(found[1] - 8 * MS) < 2e-4 * 8 * MS
    assert abs(found[2] - 8 * MS) < 2e-4 * 8 * MS


def test_what_cannot_be_reduced_stays():
    """Operations without number or time, and those that ended with an error, are told as they are."""
    odd = [
        {"seq": None, "enqueued_at": T0, "ended_at": T0 + 1},
        {"seq": 1, "enqueued_at": None, "ended_at": None},
        {"seq": 2, "enqueued_at": T0, "ended_at": T0 + 1, "state": "unknown"},
    ]
    tables = Reducer().reduce({"collectives": collectives([*odd, *steady(1, first=3)])}, T0)
    assert tables["collectives"].num_rows == 3
    assert own(tables).keys() == {3}


def test_other_tables_pass():
    """What the reducer does not know it hands on."""
    gauges = records.build("gauges", {"at": [T0], "host": ["h"], "metric": ["m"], "value": [1.0]})
    assert Reducer().reduce({"gauges": gauges}, T0)["gauges"] is gauges


def test_jobs_with_equal_ranks_are_told_apart():
    """Own times of rank 0 of one job do not run into those of rank 0 of another."""
    rows = [*steady(4), *[{**row, "job": "other", "enqueued_at": row["enqueued_at"] + MS} for row in steady(4)]]
    for row in rows:
        row["ended_at"] = row["enqueued_at"] + 2 * MS
    tables = Reducer().reduce({"collectives": collectives(rows)}, T0)
    assert {abs(value - 8 * MS) < 2000 for seq, value in own(tables).items() if seq} == {True}


def test_months_of_new_communicators_do_not_fill_the_memory(monkeypatch):
    """Beyond a number of streams all is forgotten, and it goes on."""
    monkeypatch.setattr(module, "FORGET", 10)
    reducer = Reducer()
    for n in range(50):
        tables = reducer.reduce({"collectives": collectives(steady(2, comm=f"c{n}"))}, T0 + n * SECOND)
        assert tables["vectors"].num_rows == 1
    assert len(reducer._book.streams) <= 11


cell = st.one_of(st.none(), st.integers(-(1 << 62), 1 << 62))


@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys(("seq", "p2p_seq", "enqueued_at", "started_at", "ended_at"), cell)))
)
def test_nothing_breaks_it(rows):
    """Whatever numbers a row holds, it is reduced or handed on."""
    if not rows:
        return
    tables = Reducer().reduce({"collectives": collectives(rows)}, T0)
    told = sum(row["n"] for row in tables["blocks"].to_pylist()) if "blocks" in tables else 0
    assert told <= len(rows)
