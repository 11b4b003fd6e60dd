"""Blocks: however operations are cut into calls, merged by addition they are the sums of all of them."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reducer.operations import MS, SECOND, T0, collectives, steady

from offbeat import records
from offbeat.reducer import Reducer

PATIENT = 60 * SECOND


def blocks(reducer, rows, now):
    """Return the blocks that are closed when *rows* have come."""
    return reducer.reduce({"collectives": collectives(rows)} if rows else {}, now).get("blocks")


def merged(tables):
    """Return sums and extremes of durations by communicator, rank and kind."""
    found = {}
    for row in pa.concat_tables([table for table in tables if table is not None]).to_pylist():
        key = row["comm"], row["rank"], row["nbytes"]
        old = found.get(key, (0, 0, 0.0, 1 << 62, -1))
        found[key] = (
            old[0] + row["n"],
            old[1] + row["duration_sum"],
            old[2] + row["duration_sum2"],
            min(old[3], row["duration_min"]),
            max(old[4], row["duration_max"]),
        )
    return found


@given(
    lengths=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 10**9)), min_size=1, max_size=80),
    data=st.data(),
)
def test_sums_do_not_depend_on_how_they_came(lengths, data):
    """Number, sum, sum of squares and extremes are those of all operations."""
    counts, rows, wanted = Counter(), [], {}
    for rank, size, length in lengths:
        start = T0 + counts[rank] * SECOND
        rows.append(
            {"rank": rank, "nbytes": size, "seq": counts[rank], "enqueued_at": start, "ended_at": start + length}
        )
        counts[rank] += 1
        wanted.setdefault(("c", rank, size), []).append(length)
    reducer, tables, now = Reducer(), [], T0
    while rows:
        count = data.draw(st.integers(1, len(rows)))
        now += SECOND
        tables.append(blocks(reducer, rows[:count], now))
        rows = rows[count:]
    tables.append(blocks(reducer, [], now + 200 * SECOND))
    found = merged(tables)
    assert found.keys() == wanted.keys()
    for key, (n, total, squares, least, most) in found.items():
        all_ = wanted[key]
        assert (n, total, least, most) == (len(all_), sum(all_), min(all_), max(all_))
        assert squares == pytest.approx(sum((length / 1e3) ** 2 for length in all_), rel=1e-5)


def test_a_block_is_about_a_second():
    """At a thousand a second a block holds 1,024 and is aligned; it is sent when it is whole, and only then."""
    reducer, found = Reducer(), []
    for second in range(8):
        rows = steady(1000, first=1000 * second, length=MS // 2, period=MS)
        closed = blocks(reducer, rows, T0 + (second + 1) * SECOND)
        found += closed.to_pylist() if closed else []
    assert {(row["shift"], row["n"], row["missing"]) for row in found} == {(10, 1024, 0)}
    assert [row["block"] for row in found] == list(range(8000 // 1024))


def test_where_the_longest_was():
    """A block says which operation was the longest, and which had most of the rank's own time before it."""
    rows = steady(8)
    rows[3]["ended_at"] += 5 * MS
    rows[6]["enqueued_at"] += MS
    (row,) = blocks(Reducer(), rows, T0 + SECOND).to_pylist()
    assert (row["duration_max"], row["duration_max_seq"]) == (7 * MS, 3)
    assert (row["own_max"], row["own_max_seq"], row["own_n"]) == (9 * MS, 6, 8)


def test_what_does_not_end_is_missing():
    """A block with an operation that stands still is sent without it after a while, and says that one is missing."""
    reducer = Reducer()
    rows = [row for row in steady(64) if row["seq"] != 5]
    assert blocks(reducer, rows, T0 + SECOND) is None
    (row,) = blocks(reducer, [], T0 + PATIENT).to_pylist()
    assert (row["block"], row["n"], row["missing"]) == (0, 63, 1)


def test_the_schema_is_the_registry_s():
    """Blocks conform to the registry, sums that nobody knows null."""
    table = blocks(Reducer(), steady(8), T0 + SECOND)
    assert table.schema.equals(records.schema("blocks"))
    assert table["lateness_sum"].null_count == table.num_rows
