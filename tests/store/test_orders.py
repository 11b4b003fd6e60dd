"""Orders: numbered, bounded, answered once, and every step in the audit log."""

import pytest

from offbeat.store import BusyError, NotFoundError
from offbeat.store.audit import AuditStore
from offbeat.store.orders import MINUTE_PER_HOST, OPEN_PER_HOST, OrderStore

SECOND = 1_000_000_000


class Clock:
    """A clock that stands still until it is moved."""

    now = 1_800_000_000 * SECOND

    def __call__(self):
        """Return the time, ns."""
        return self.now


@pytest.fixture
def clock():
    """Give a clock."""
    return Clock()


@pytest.fixture
def orders(database, clock):
    """Give an empty store of orders."""
    return OrderStore(database, clock)


def drill(orders, host="node1", comm="a", **more):
    """Give an order."""
    return orders.give(host, "drill_down", {"job": "j", "comm": comm}, who="token:1", **more)


def test_orders_wait_in_order_for_their_host(orders):
    """A host gets its own orders, oldest first, and only those after the ones it has seen."""
    first, other, second = drill(orders), drill(orders, host="node2"), drill(orders)
    assert first.id < other.id < second.id
    assert [order.id for order in orders.waiting("node1")] == [first.id, second.id]
    assert orders.waiting("node1", after=first.id) == (second,)
    assert orders.newest() == {"node1": second.id, "node2": other.id}
    assert orders.newest(after=other.id) == {"node1": second.id}


def test_the_first_answer_stays(orders, database):
    """An answered order waits no more; a second answer changes nothing; both deeds are in the audit log."""
    order = drill(orders)
    done = orders.finish("node1", order.id, "done", {"rows": 3}, who="token:2")
    assert (done.state, done.result) == ("done", {"rows": 3})
    assert orders.finish("node1", order.id, "failed", {}, who="token:2") == done
    assert orders.waiting("node1") == ()
    assert orders.list("node1").items == (done,)
    assert [(row.who, row.what) for row in AuditStore(database).list().items] == [
        ("token:2", "order answered"),
        ("token:1", "order given"),
    ]


def test_another_host_cannot_answer(orders):
    """An order is its host's: who names another host does not find it."""
    order = drill(orders)
    with pytest.raises(NotFoundError, match="host 'node2' has no order"):
        orders.finish("node2", order.id, "done", {}, who="x")


def test_what_nobody_fetched_in_time_is_over(orders, clock):
    """An order whose time is over is not given out any more, and is listed as expired."""
    drill(orders, seconds=10)
    clock.now += 11 * SECOND
    assert orders.waiting("node1") == ()
    assert orders.newest() == {}
    assert [order.state for order in orders.list("node1").items] == ["expired"]


def test_new_bounds_replace_those_that_wait(orders):
    """Of a job's bounds only the newest wait; another job's stay."""
    for job in ("a", "b", "a"):
        last = orders.give("node1", "bounds", {"job": job}, who="analyzer")
    assert [order.arguments["job"] for order in orders.waiting("node1")] == ["b", "a"]
    assert orders.waiting("node1")[1] == last
    assert [order.state for order in orders.list("node1").items] == ["open", "open", "replaced"]


def test_a_host_takes_so_many_orders(orders, clock):
    """Too many that wait, or too many within a minute, are refused; another host is not concerned."""
    for _ in range(OPEN_PER_HOST):
        drill(orders)
    with pytest.raises(BusyError, match="orders that wait"):
        drill(orders)
    drill(orders, host="node2")
    for order in orders.waiting("node1"):
        orders.finish("node1", order.id, "done", {}, who="x")
    for _ in range(MINUTE_PER_HOST - OPEN_PER_HOST):
        orders.finish("node1", drill(orders).id, "done", {}, who="x")
    with pytest.raises(BusyError, match="within a minute"):
        drill(orders)
    clock.now += 61 * SECOND
    drill(orders)


def test_pages_and_forgetting(orders, clock):
    """A long list comes in pages, and what is old is forgotten."""
    given = [drill(orders).id for _ in range(5)]
    page = orders.list("node1", limit=3)
    rest = orders.list("node1", page.next, limit=3)
    assert [order.id for order in (*page.items, *rest.items)] == given[::-1]
    assert rest.next is None
    orders.expire(clock.now + 1)
    assert orders.list("node1").items == ()
