"""What only the bus over Redis has: other processes, a server that dies, consumers that keep their place."""

import time

import pytest
from batches import gauges, values
from findings import finding
from support import wait_until

from offbeat import wire
from offbeat.store import JobRank, JobRow, UnavailableError, redis_writer
from offbeat.store.codec import CodecError, decode, encode
from offbeat.store.incidents import IncidentStore
from offbeat.store.redis_bus import RedisBus


@pytest.fixture
def bus(redis_server):
    """Give a bus."""
    made = RedisBus(redis_server.url)
    yield made
    made.close()


def put(bus, *numbers):
    """Publish telemetry, one batch a number."""
    for number in numbers:
        bus.publish("telemetry.0", {"host": "node1", "received_at": number, "tables": gauges([float(number)])})


def got(reader, count, timeout=10):
    """Return the numbers of the next *count* batches."""
    return [int(values(reader.get(timeout)["tables"]["gauges"])[0]) for _ in range(count)]


def test_two_processes_hear_each_other(redis_server, bus):
    """What one publishes, the other's subscribers get, telemetry with its tables and its wire form."""
    other = RedisBus(redis_server.url)
    subscription = other.subscribe("telemetry.0")
    tables = gauges([1.0, 2.0])
    bus.publish("telemetry.0", {"host": "node1", "received_at": 5, "tables": tables, "raw": wire.encode(tables)})
    message = subscription.get(10)
    assert (message["host"], message["received_at"], values(message["tables"]["gauges"])) == ("node1", 5, [1.0, 2.0])
    assert wire.decode(message["raw"])[0].keys() == {"gauges"}
    other.close()


def test_payloads_come_back_as_they_were(database):
    """Jobs and incidents are equal on the other side; anything else, or from another version, is refused."""
    job = JobRow("train", 1, "name", 8, hosts=("a", "b"), ranks=(JobRank(0, "a", 12),))
    incident = IncidentStore(database).apply(finding(), time.time_ns())
    assert decode(encode(job)) == job
    assert decode(encode(incident)) == incident
    for wrong in (
        {b"k": b"pickle", b"h": b"{}"},
        {},
        {b"k": b"job", b"h": b'{"colour": 1}'},
        {b"k": b"json", b"h": b"["},
    ):
        with pytest.raises(CodecError):
            decode(wrong)
    with pytest.raises(CodecError, match="cannot travel"):
        encode(object())


def test_an_address_without_redis_is_refused_at_the_start(tmp_path):
    """A service that is started with a wrong address says so at once."""
    for url in (f"unix://{tmp_path}/none", "http://127.0.0.1:1"):
        with pytest.raises(UnavailableError, match="Redis"):
            RedisBus(url)


def test_a_consumer_begins_where_it_is_told_and_a_second_one_takes_over(bus):
    """The next holder of a shard sees again what it asks for, also what the first had read and not finished."""
    put(bus, 1, 2, 3)
    with bus.consume("telemetry.0", "analyzer", 1, since=0) as first:
        assert got(first, 2) == [1, 2]
    assert bus._writer.flush(10)
    passed = time.time_ns()
    # Places are told to the millisecond, and one too early rather than one too late.
    wait_until(lambda: time.time_ns() > passed + 5_000_000)
    middle = time.time_ns()
    with bus.consume("telemetry.0", "analyzer", 2, since=0) as second:
        assert got(second, 3) == [1, 2, 3]
        put(bus, 4)
        assert got(second, 1) == [4]
    with bus.consume("telemetry.0", "analyzer", 3, since=middle) as third:
        assert got(third, 1) == [4]
        assert third.get(0) is None
        assert not third.broken


def test_a_reader_that_was_replaced_takes_nothing_more(bus):
    """One that stood still while another took over ends by itself, and takes no message from the other."""
    put(bus, 1)
    old = bus.consume("telemetry.0", "analyzer", 1, since=0)
    assert got(old, 1) == [1]
    with bus.consume("telemetry.0", "analyzer", 2, since=0) as new:
        assert got(new, 1) == [1]
        put(bus, 2)
        assert old.get(1) is None
        assert old.closed
        assert got(new, 1) == [2]


def test_a_redis_that_is_away_delays_and_loses_nothing(redis_server, bus):
    """Killed without a trace and started again: consumers get everything once, in order, and need not begin anew.

    What no segment holds yet is told again; here nothing ever becomes a segment.
    """
    bus.close()
    bus = RedisBus(redis_server.url, mark=lambda: 0)
    with bus.consume("telemetry.0", "analyzer", 1, since=0) as reader:
        put(bus, 1, 2)
        assert got(reader, 2) == [1, 2]
        redis_server.kill()
        put(bus, 3, 4)
        assert reader.get(0.05) is None
        redis_server.start()
        put(bus, 5)
        assert got(reader, 3, timeout=30) == [3, 4, 5]
        assert (reader.broken, reader.dropped) == (False, 0)
    bus.close()


def test_subscribers_live_through_a_restart_of_redis(redis_server, bus):
    """A subscriber that was there before hears what is published after it."""
    subscription = bus.subscribe("jobs")
    redis_server.kill()
    bus.publish("jobs", {"n": 1})
    redis_server.start()
    assert subscription.get(30) == {"n": 1}


def test_only_what_segments_hold_is_trimmed(redis_server, monkeypatch):
    """Old messages go once every process says that its segments reach past them, and not before."""
    monkeypatch.setattr(redis_writer, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(redis_writer, "MARK_SECONDS", 0.01)
    marks = [0, 0]
    first, second = (RedisBus(redis_server.url, mark=lambda n=n: marks[n]) for n in (0, 1))
    client = first._client

    def length_after_one_more():
        # Trimming goes by whole nodes of a hundred entries.
        put(first, *range(200))
        assert first._writer.flush(10)
        return client.xlen("offbeat:telemetry.0")

    for _ in range(3):
        last = length_after_one_more()
    assert last == 600
    marks[0] = time.time_ns() * 2
    assert length_after_one_more() == 800
    marks[1] = time.time_ns() * 2
    wait_until(lambda: length_after_one_more() < 700)
    first.close()
    second.close()


def test_a_reader_that_missed_messages_knows(redis_server, bus):
    """What was trimmed before it was read leaves a gap in the numbers."""
    with bus.consume("telemetry.0", "analyzer", 1, since=0) as reader:
        put(bus, 1)
        assert got(reader, 1) == [1]
        put(bus, 2, 3, 4)
        assert bus._writer.flush(10)
        bus._client.xtrim("offbeat:telemetry.0", maxlen=1, approximate=False)
        assert got(reader, 1) == [4]
        assert (reader.broken, reader.dropped) == (True, 2)


def test_too_much_that_waits_asks_for_a_pause(redis_server, bus, monkeypatch):
    """While Redis is away the bus says when no more should be accepted; the oldest go only far beyond that."""
    monkeypatch.setattr(redis_writer, "WAITING_BYTES", 100)
    redis_server.kill()
    put(bus, 1)
    assert bus.behind
    redis_server.start()
    wait_until(lambda: not bus.behind)
