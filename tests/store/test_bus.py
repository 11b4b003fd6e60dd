"""Every bus passes the same contract."""

from __future__ import annotations

import threading

import pytest

from offbeat.store import Bus, InProcessBus
from offbeat.store.redis_bus import RedisBus


@pytest.fixture(params=["in_process", "redis"])
def bus(request):
    """Give one bus of each kind."""
    made: Bus = InProcessBus()
    if request.param == "redis":
        made = RedisBus(request.getfixturevalue("redis_server").url)
    yield made
    made.close()


def test_every_subscriber_sees_every_message_in_order(bus):
    """Two subscribers of a topic each get all of it, in the order it was published."""
    first, second = bus.subscribe("jobs"), bus.subscribe("jobs")
    for n in range(10):
        bus.publish("jobs", {"n": n})
    for subscription in (first, second):
        assert [subscription.get(5) for _ in range(10)] == [{"n": n} for n in range(10)]


def test_topics_are_apart(bus):
    """A message is not seen on another topic, nor by who subscribed after it."""
    early = bus.subscribe("incidents")
    bus.publish("jobs", {"n": 1})
    bus.publish("incidents", {"n": 2})
    late = bus.subscribe("incidents")
    assert early.get(5) == {"n": 2}
    assert late.get(0) is None


def test_a_lagging_subscriber_loses_the_oldest_and_knows_how_many(bus):
    """A full queue drops its oldest message and counts it, without holding up the publisher or the others."""
    slow, fast = bus.subscribe("telemetry", size=4), bus.subscribe("telemetry", size=100)
    for n in range(10):
        bus.publish("telemetry", {"n": n})
    assert [fast.get(5) for _ in range(10)] == [{"n": n} for n in range(10)]
    assert [slow.get(5) for _ in range(4)] == [{"n": n} for n in range(6, 10)]
    assert (slow.dropped, fast.dropped) == (6, 0)


def test_get_gives_up_after_its_timeout(bus):
    """Nothing published: get returns None, at once or after the timeout."""
    subscription = bus.subscribe("jobs")
    assert subscription.get(0) is None
    assert subscription.get(0.01) is None


def test_get_waits_for_a_message_from_another_thread(bus):
    """A reader that waits is woken by the publisher."""
    subscription, got = bus.subscribe("jobs"), []
    reader = threading.Thread(target=lambda: got.append(subscription.get(10)))
    reader.start()
    bus.publish("jobs", {"n": 1})
    reader.join(10)
    assert got == [{"n": 1}]


def test_closing_ends_iteration(bus):
    """A reader that iterates, stops when its subscription is closed from elsewhere."""
    subscription, got = bus.subscribe("jobs"), []
    read = threading.Event()

    def run():
        for item in subscription:
            got.append(item)
            read.set()

    reader = threading.Thread(target=run)
    reader.start()
    bus.publish("jobs", {"n": 1})
    assert read.wait(10)
    subscription.close()
    reader.join(10)
    assert not reader.is_alive()
    assert (got, subscription.closed) == ([{"n": 1}], True)


def test_closing_the_bus_closes_its_subscriptions(bus):
    """After the bus is closed readers return, publishing is harmless and new subscriptions are born closed."""
    with bus.subscribe("jobs") as subscription:
        bus.close()
        assert subscription.closed
        assert subscription.get() is None
    bus.publish("jobs", {"n": 1})
    assert bus.subscribe("jobs").closed


def test_wake_is_called_for_messages_and_for_the_end(bus):
    """A reader that cannot wait in get is told when to look."""
    woken = threading.Semaphore(0)
    subscription = bus.subscribe("jobs", wake=woken.release)
    bus.publish("jobs", {"n": 1})
    assert woken.acquire(timeout=10)
    assert subscription.get(0) == {"n": 1}
    subscription.close()
    assert woken.acquire(timeout=10)


def test_many_publishers_and_one_reader_account_for_every_message(bus):
    """What is read plus what is counted as dropped is what was published."""
    subscription, got = bus.subscribe("telemetry", size=50), []
    reader = threading.Thread(target=lambda: got.extend(iter(lambda: subscription.get(10), {"end": True})))
    reader.start()
    writers = [
        threading.Thread(target=lambda: [bus.publish("telemetry", {"n": n}) for n in range(500)]) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(10)
    bus.publish("telemetry", {"end": True})
    reader.join(10)
    assert len(got) + subscription.dropped == 2000


def test_a_queue_needs_room_for_one(bus):
    """A size below one is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        bus.subscribe("jobs", size=0)
