"""Leases, and writing under them."""

import pytest
from findings import finding

from offbeat.store import FencedError


@pytest.fixture(autouse=True)
def _one_clock(store, clock, monkeypatch):
    """Let the tests' clock count, on PostgreSQL too."""
    monkeypatch.setattr(type(store.leases), "_now", lambda self: clock())


def test_one_holder_at_a_time(store, clock):
    """A lease is its holder's until it runs out or is given back; each change of hands has a larger number."""
    first = store.leases.acquire("shard:1", "a", 10)
    assert store.leases.acquire("shard:1", "b", 10) is None
    clock.tick(9)
    assert store.leases.renew(first, 10)
    clock.tick(9)
    assert store.leases.acquire("shard:1", "b", 10) is None
    clock.tick(2)
    second = store.leases.acquire("shard:1", "b", 10)
    assert second.fence > first.fence
    assert not store.leases.renew(first, 10)
    assert store.leases.holders("shard:") == {"shard:1": "b"}
    store.leases.release(first)
    assert store.leases.holders("shard:") == {"shard:1": "b"}
    store.leases.release(second)
    assert store.leases.holders("shard:") == {}
    assert store.leases.acquire("shard:1", "a", 10).fence > second.fence


def test_leases_of_processes_long_gone_are_forgotten(store, clock):
    """A worker's name is never used again; a shard's number must go on counting."""
    store.leases.acquire("worker:a", "a", 10)
    shard = store.leases.acquire("shard:1", "a", 10)
    clock.tick(7200)
    store.expire(clock())
    assert store.leases.acquire("worker:a", "b", 10).fence == 1
    assert store.leases.acquire("shard:1", "b", 10).fence == shard.fence + 1


def test_who_lost_the_lease_writes_nothing(store, clock):
    """A holder that stood still and goes on is refused, whatever it writes; the new one is not."""
    old = store.fenced(store.leases.acquire("shard:1", "a", 10))
    assert old.incidents.apply(finding(id_="one"), clock()) is not None
    clock.tick(11)
    new = store.fenced(store.leases.acquire("shard:1", "b", 10))
    with pytest.raises(FencedError, match="no longer held by a"):
        old.incidents.apply(finding(id_="two"), clock())
    assert len(store.incidents.list().items) == 1
    assert new.incidents.apply(finding(id_="two"), clock()) is not None
    assert len(old.incidents.list().items) == 2
