"""Communicators on one host: lateness and transfer are exact, where every member is seen."""

import pytest
from tests.reducer.operations import MS, SECOND, T0, collectives

from offbeat import records
from offbeat.reducer import Reducer

WORLD = 4


def memberships(ranks):
    """Return what the recorders of *ranks* say of a communicator of four."""
    columns = {"job": "j", "attempt": 1, "comm": "c", "n_ranks": WORLD, "host": "h"}
    table = {name: [value] * len(ranks) for name, value in columns.items()}
    return records.build("memberships", table | {"comm_rank": ranks, "rank": ranks})


def late(member, by, count=8):
    """Return operations of four ranks that leave together, one of them entering later than the others."""
    return [
        {
            "rank": rank,
            "seq": seq,
            "enqueued_at": T0 + seq * 100 * MS + (by if rank == member else 0),
            "ended_at": T0 + seq * 100 * MS + 20 * MS,
        }
        for seq in range(count)
        for rank in range(WORLD)
    ]


def test_lateness_is_exact():
    """Each member's sum of lateness is what it was late by, and the transfer is what the last one waits."""
    tables = {"collectives": collectives(late(2, 5 * MS)), "memberships": memberships(list(range(WORLD)))}
    rows = Reducer().reduce(tables, T0 + SECOND)["blocks"].to_pylist()
    assert {row["rank"]: row["lateness_sum"] for row in rows} == {0: 0, 1: 0, 2: 40 * MS, 3: 0}
    assert {(row["lateness_n"], row["lateness_max"]) for row in rows if row["rank"] == 2} == {(8, 5 * MS)}
    assert {(row["transfer_sum"], row["transfer_min"]) for row in rows} == {(8 * 15 * MS, 15 * MS)}


@pytest.mark.parametrize("cut", [1, 13, 31])
def test_members_may_come_one_after_the_other(cut):
    """Lateness is known once the last member's operations have come."""
    reducer, rows = Reducer(), sorted(late(2, 5 * MS), key=lambda row: row["rank"])
    first = {"collectives": collectives(rows[:cut]), "memberships": memberships(list(range(WORLD)))}
    found = [
        reducer.reduce(first, T0 + SECOND),
        reducer.reduce({"collectives": collectives(rows[cut:])}, T0 + 2 * SECOND),
    ]
    found.append(reducer.reduce({}, T0 + 60 * SECOND))
    blocks = [row for tables in found if "blocks" in tables for row in tables["blocks"].to_pylist()]
    assert sum(row["n"] for row in blocks) == WORLD * 8
    assert sum(row["lateness_sum"] or 0 for row in blocks if row["rank"] == 2) == 40 * MS
    assert sum(row["lateness_n"] for row in blocks) == WORLD * 8


def test_across_hosts_nothing_is_said_of_lateness():
    """Of a communicator with members elsewhere lateness is not known here."""
    tables = {"collectives": collectives(late(2, 5 * MS)), "memberships": memberships([0, 1, 2])}
    rows = Reducer().reduce(tables, T0 + SECOND)["blocks"].to_pylist()
    assert {(row["lateness_n"], row["lateness_sum"]) for row in rows} == {(0, None)}


def test_a_member_that_does_not_come():
    """Operations wait a while for the last member, then they are told without lateness, and none is lost."""
    rows = [row for row in late(2, 5 * MS) if row["rank"] != 3]
    reducer = Reducer()
    tables = {"collectives": collectives(rows), "memberships": memberships(list(range(WORLD)))}
    assert "blocks" not in reducer.reduce(tables, T0 + SECOND)
    (found,) = [reducer.reduce({}, T0 + 60 * SECOND)["blocks"].to_pylist()]
    assert sum(row["n"] for row in found) == 3 * 8
    assert {row["lateness_n"] for row in found} == {0}
