"""The ledger: each batch counts once, in whatever order and however often it comes."""

import pytest
import sqlalchemy as sa
from batches import T0
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat.store import ledger
from offbeat.store.ledger import ALIVE_NS, GRACE_NS, Ask
from offbeat.store.tables import Base, Batches, Incarnations

SECOND = 1_000_000_000


def admit(database, *asks, log="a.log"):
    """Enter *asks* in one transaction; return the numbers of the new ones."""
    with database.write() as connection:
        return [ask.n for ask in ledger.admit(database, connection, asks, log)]


def ask(n, *, host="node1", incarnation=T0, received_at=T0, newest_at=None, **more):
    """Return a batch that wants in."""
    return Ask(host, incarnation, n, received_at, newest_at, **more)


def lost(database, host="node1"):
    """Return how many batches count as given up."""
    with database.read() as connection:
        return ledger.lost(connection, host)


def rows(database, table):
    """Return how many rows a table has."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_durable_is_what_came_without_a_gap(database):
    """Batches that came early count once the missing one is there."""
    asks = [ask(n) for n in (2, 3, 1, 5)]
    assert admit(database, *asks) == [2, 3, 1, 5]
    assert [each.receipt.durable for each in asks] == [0, 0, 3, 3]
    last = ask(4)
    admit(database, last)
    assert last.receipt.durable == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(data=st.data())
def test_any_order_with_repeats_counts_each_once(database, data):
    """However batches are shuffled, repeated, grouped and sealed, each is new once and durable is right."""
    with database.write() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(table.delete())
    numbers = st.integers(1, 6)
    order = data.draw(st.lists(st.tuples(st.sampled_from(["node1", "node2"]), numbers), max_size=20))
    seen, log = set(), 0
    while order:
        size = data.draw(st.integers(1, len(order)))
        group, order = order[:size], order[size:]
        asks = [ask(n, host=host) for host, n in group]
        new = admit(database, *asks, log=f"{log}.log")
        assert new == [n for at, (host, n) in enumerate(group) if (host, n) not in {*seen, *group[:at]}]
        for each, key in zip(asks, group, strict=True):
            assert each.receipt.duplicate == (key in seen)
            seen.add(key)
            durable = 0
            while (each.host, durable + 1) in seen:
                durable += 1
            assert each.receipt.durable == durable
        if data.draw(st.booleans()):
            with database.write() as connection:
                ledger.sealed(connection, f"{log}.log")
            log += 1


def test_what_will_not_come_is_passed_and_counted(database):
    """Numbers that the agent gave up are not waited for; those among them that had come before are not lost."""
    admit(database, ask(1), ask(4))
    told = ask(7, gap=5)
    assert admit(database, told) == [7]
    assert (told.receipt.durable, told.receipt.lost) == (7, 4)
    assert lost(database) == 4
    late = ask(3)
    assert admit(database, late) == []
    assert late.receipt.duplicate
    again = ask(7, gap=5)
    admit(database, again)
    assert (again.receipt.duplicate, lost(database)) == (True, 4)


def test_a_gap_behind_one_that_is_waited_for(database):
    """While an earlier batch is to come the gap stays open; the agent tells of it again."""
    early = ask(5, gap=2)
    admit(database, ask(1), early)
    assert early.receipt.durable == 1
    between, again = ask(2), ask(5, gap=2)
    admit(database, between)
    assert between.receipt.durable == 2
    assert admit(database, again) == []
    assert (again.receipt.durable, again.receipt.lost, lost(database)) == (5, 2, 2)


def test_an_empty_batch_stands_for_a_lost_one(database):
    """The trace of a batch that was given up takes its number and counts as lost, once."""
    for _ in range(2):
        admit(database, ask(1, empty=True))
    assert (lost(database), lost(database, "node2")) == (1, 0)


def test_runs_of_an_agent_count_apart(database):
    """A restarted agent begins again at 1, and what its predecessor left may still come."""
    admit(database, ask(1), ask(2))
    new, old = ask(1, incarnation=T0 + SECOND), ask(3)
    assert admit(database, new, old) == [1, 3]
    assert (new.receipt.durable, old.receipt.durable) == (1, 3)


def test_sealing_forgets_what_is_no_longer_needed(database):
    """After a log is sealed only batches ahead of a gap are remembered, and those until the gap closes."""
    admit(database, ask(1), ask(2), ask(4))
    with database.write() as connection:
        assert ledger.entered(connection, "a.log") == {("node1", T0, n) for n in (1, 2, 4)}
        ledger.sealed(connection, "a.log")
        assert ledger.entered(connection, "a.log") == set()
    assert rows(database, Batches) == 1
    again, gap = ask(4), ask(3)
    admit(database, again, gap, log="b.log")
    assert again.receipt.duplicate
    assert gap.receipt.durable == 4
    with database.write() as connection:
        ledger.sealed(connection, "b.log")
    assert rows(database, Batches) == 0


def test_two_live_agents_of_one_host(database):
    """The one that started earlier is refused as soon as it sends what its successor's start should have ended."""
    older, newer = T0, T0 + 100 * SECOND
    admit(database, ask(1, incarnation=older, newest_at=T0, received_at=T0))
    now = newer + GRACE_NS + SECOND
    admit(database, ask(1, incarnation=newer, newest_at=now, received_at=now))
    late = ask(2, incarnation=older, newest_at=now, received_at=now)
    assert admit(database, late) == []
    assert (late.receipt, late.taken) == (None, newer)
    spooled = ask(2, incarnation=older, newest_at=newer - SECOND, received_at=now)
    assert admit(database, spooled) == [2]
    undated = ask(3, incarnation=older, received_at=now)
    assert admit(database, undated) == [3]


def test_what_a_later_run_found_in_its_spool_is_taken(database):
    """A batch read under a clock that ran ahead is taken from the run that holds the spool."""
    now = T0 + SECOND
    admit(database, ask(1, incarnation=T0, newest_at=now, received_at=now))
    ahead = T0 + 2 * GRACE_NS
    assert admit(database, ask(7, incarnation=T0 - SECOND, newest_at=ahead, received_at=now)) == []
    assert admit(database, ask(7, incarnation=T0 - SECOND, newest_at=ahead, received_at=now, sender=T0)) == [7]


def test_a_clock_set_back_does_not_lock_an_agent_out(database):
    """An agent whose predecessor started "later" is heard as long as that predecessor is silent."""
    future = T0 + 3600 * SECOND
    admit(database, ask(1, incarnation=future, newest_at=future, received_at=T0))
    now = T0 + ALIVE_NS + SECOND
    assert admit(database, ask(1, incarnation=T0, newest_at=future + GRACE_NS + SECOND, received_at=now)) == [1]


def test_old_runs_are_forgotten_except_the_newest(database):
    """A host silent for long keeps its newest run, so that a batch it sends again is still known."""
    for incarnation in (T0, T0 + 1, T0 + 2):
        admit(
            database, ask(1, incarnation=incarnation, received_at=T0), ask(3, incarnation=incarnation, received_at=T0)
        )
    with database.write() as connection:
        ledger.sealed(connection, "a.log")
        ledger.forget(connection, T0 + SECOND)
    assert (rows(database, Incarnations), rows(database, Batches)) == (1, 1)
    again = ask(3, incarnation=T0 + 2)
    admit(database, again)
    assert again.receipt.duplicate


@pytest.mark.parametrize("size", [1, 50])
def test_a_batch_is_entered_under_its_log(database, size):
    """Which log holds a batch is known until the log is sealed."""
    admit(database, *[ask(n) for n in range(1, size + 1)], log="x.log")
    with database.read() as connection:
        assert len(ledger.entered(connection, "x.log")) == size
        assert ledger.entered(connection, "y.log") == set()
