"""The outbox: every batch is sent in order until it is durable, and whatever is given up is counted."""

import errno
import itertools
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import wait_until

from offbeat import wire
from offbeat.collector import outbox as module
from offbeat.collector.outbox import Outbox
from offbeat.collector.spool import Key, Spool


@pytest.fixture
def make(tmp_path):
    """Return a function that opens an outbox on the same spool each time; all are closed at the end."""
    made = []

    def make(**options):
        options = {"limit_bytes": 1 << 30, "max_age_seconds": 3600, "write_after": 0.0} | options
        found = Outbox(Spool(tmp_path / "spool", "a"), **options)
        made.append(found)
        return found

    yield make
    for found in made:
        if not found._closed:
            found.close()


def files(outbox):
    """Return the batches on disk."""
    return sorted(path.name for path in outbox._spool.directory.glob("*.batch"))


def drain(outbox):
    """Return all batches that are due now."""
    return list(iter(lambda: outbox.take(0), None))


def test_numbers_start_at_one_without_gaps(make):
    """Batches of an incarnation are numbered 1, 2, 3 and come out in that order, each once."""
    outbox = make()
    assert [outbox.append(bytes([i])) for i in range(5)] == [1, 2, 3, 4, 5]
    taken = drain(outbox)
    assert [(batch.key.n, batch.body) for batch in taken] == [(i + 1, bytes([i])) for i in range(5)]
    assert {batch.key.incarnation for batch in taken} == {outbox.incarnation}
    assert [batch.gap for batch in taken] == [0] * 5


def test_take_waits_for_a_batch(make):
    """A sender that waits gets a batch as soon as it is there."""
    outbox = make()
    got = []
    thread = threading.Thread(target=lambda: got.append(outbox.take(10)))
    thread.start()
    started = time.monotonic()
    outbox.append(b"x")
    thread.join()
    assert got[0].body == b"x"
    assert time.monotonic() - started < 5


def test_durable_in_time_never_touches_the_disk(make):
    """A batch that the service makes durable before its time is never written."""
    outbox = make(write_after=30.0)
    outbox.append(b"x")
    batch = outbox.take(0)
    outbox.release(*batch.key)
    assert outbox.size() == (0, 0)
    assert outbox.flush(1)
    assert files(outbox) == []


def test_not_durable_in_time_goes_to_disk_and_leaves_it(make):
    """A batch is written when its time is up, counts as safe then, and its file goes when it is durable."""
    outbox = make(write_after=0.05)
    n = outbox.append(b"x")
    key = Key(outbox.incarnation, n)
    assert not outbox.safe(key)
    wait_until(lambda: outbox.safe(key))
    assert files(outbox) == [key.filename]
    assert outbox.take(0).body == b"x"
    outbox.release(*key)
    wait_until(lambda: files(outbox) == [])


def test_next_agent_sends_what_is_left_first(make):
    """An agent that starts anew sends the old batches under their old names, then its own."""
    first = make()
    for i in range(3):
        first.append(b"old%d" % i)
    assert first.flush(5)
    first.release(first.incarnation, 1)
    first.close()
    second = make()
    second.append(b"new")
    assert second.incarnation > first.incarnation
    assert [(batch.key, batch.body) for batch in drain(second)] == [
        (Key(first.incarnation, 2), b"old1"),
        (Key(first.incarnation, 3), b"old2"),
        (Key(second.incarnation, 1), b"new"),
    ]
    assert second.counts["recovered"] == 2


def test_incarnation_grows_though_the_clock_went_back(make):
    """A later agent has a larger incarnation, even on a machine whose clock was set back."""
    first = make(clock_ns=lambda: 5_000_000_000)
    first.append(b"x")
    assert first.flush(5)
    first.close()
    assert make(clock_ns=lambda: 1_000_000_000).incarnation == 5_000_000_001


def test_oldest_are_dropped_when_full(make):
    """Above its limit the spool gives up the oldest batches, on disk too, and counts them."""
    outbox = make(limit_bytes=1000)
    for _ in range(15):
        outbox.append(b"x" * 100)
    assert outbox.flush(5)
    assert outbox.size() == (10, 1000)
    assert outbox.counts["dropped"] == 5
    wait_until(lambda: len(files(outbox)) == 10)
    assert [batch.key.n for batch in drain(outbox)] == list(range(6, 16))


def test_too_old_is_dropped(make):
    """What waited longer than the age limit is given up, and counted; the rest stays."""
    now = [1000.0]
    outbox = make(max_age_seconds=3600, clock=lambda: now[0])
    outbox.append(b"old")
    now[0] += 1800
    outbox.append(b"young")
    now[0] += 1801
    outbox.append(b"new")
    assert [(batch.body, batch.gap) for batch in drain(outbox)] == [(b"young", 1), (b"new", 0)]
    assert outbox.counts["dropped"] == outbox.lost() == 1


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_was_set_throws_nothing_away(make, years):
    """What an earlier agent left is offered to the service, however the clock was set between the two."""
    first = make()
    first.append(b"left")
    assert first.flush(5)
    first.close()
    now = [1000.0]
    later = time.time_ns() + years * 365 * 86400 * 10**9
    second = make(max_age_seconds=3600, clock_ns=lambda: later, clock=lambda: now[0])
    assert [batch.body for batch in drain(second)] == [b"left"]
    now[0] += 3601
    second.append(b"new")
    assert [batch.body for batch in drain(second)] == [module._EMPTY, b"new"]


def test_the_gap_of_what_was_dropped_is_told(make):
    """A batch says how many numbers before it will not come; one that is still to come is not among them."""
    outbox = make(limit_bytes=450, memory_bytes=1 << 20)
    for _ in range(6):
        outbox.append(b"x" * 100)
    assert [(batch.key.n, batch.gap) for batch in drain(outbox)] == [(3, 2), (4, 0), (5, 0), (6, 0)]
    outbox.release(outbox.incarnation, 3)
    outbox.retry(Key(outbox.incarnation, 5))
    assert outbox.take(0).gap == 0
    outbox.retry(Key(outbox.incarnation, 4))
    assert outbox.take(0).gap == 3


def test_an_earlier_agent_s_last_batch_leaves_a_trace(make):
    """When all that an earlier agent left is given up, an empty batch remains of the last, so that it is told."""
    first = make()
    for _ in range(3):
        first.append(b"x" * 300)
    assert first.flush(5)
    first.close()
    second = make(limit_bytes=1000)
    for _ in range(3):
        second.append(b"y" * 300)
    taken = drain(second)
    assert [(batch.key.n, batch.gap, batch.body) for batch in taken[:2]] == [(3, 2, module._EMPTY), (1, 0, b"y" * 300)]
    assert second.lost() == 3
    assert second.flush(5)
    second.close()
    assert drain(make())[0].body == module._EMPTY


def test_full_disk_keeps_batches_in_bounded_memory(make, monkeypatch):
    """Without disk space batches stay in memory, the oldest giving way; with space again they are written."""
    monkeypatch.setattr(module, "DISK_RETRY_SECONDS", 0.05)
    outbox = make(memory_bytes=1000)
    real = os.write

    def full(_descriptor, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(15):
        outbox.append(b"x" * 100)
    wait_until(lambda: outbox.counts["write_errors"] > 0)
    assert not outbox.flush(1)
    assert outbox.size() == (10, 1000)
    assert outbox.counts["dropped"] == 5
    assert not outbox.safe(Key(outbox.incarnation, 15))
    monkeypatch.setattr(os, "write", real)
    wait_until(lambda: outbox.safe(Key(outbox.incarnation, 15)))
    assert len(drain(outbox)) == 10


def test_damaged_batch_is_skipped_and_counted(make):
    """A batch that the disk damaged is left out, and those behind it are sent."""
    outbox = make()
    outbox.append(b"x" * 100)
    outbox.append(b"y")
    assert outbox.flush(5)
    path = outbox._spool.directory / Key(outbox.incarnation, 1).filename
    path.write_bytes(path.read_bytes()[:-1] + b"z")
    assert [batch.body for batch in drain(outbox)] == [b"y"]
    assert outbox.counts["damaged"] == 1


def test_refused_batch_leaves_an_empty_one_in_its_place(make):
    """A batch that the service refuses is put aside; its number is taken by one without tables, in the same place."""
    outbox = make()
    for body in (b"a", b"b", b"c"):
        outbox.append(body)
    bad = drain(outbox)[1]
    outbox.poison(bad)
    again = outbox.take(0)
    assert again.key == bad.key
    assert wire.decode(again.body) == ({}, 0)
    assert (outbox._spool.directory / "quarantine" / bad.key.filename).read_bytes() == b"b"
    outbox.release(outbox.incarnation, 2)
    assert outbox.size()[0] == 1
    outbox.poison(again)
    assert outbox.counts["refused"] == 2


def test_empty_one_refused_too_is_given_up(make):
    """When even the empty batch is refused, the number is given up."""
    outbox = make()
    outbox.append(b"a")
    outbox.poison(outbox.take(0))
    outbox.poison(outbox.take(0))
    assert outbox.size() == (0, 0)


def test_not_durable_is_sent_again(make, monkeypatch):
    """A batch that was sent and is not durable after a while is sent again, marked as such."""
    monkeypatch.setattr(module, "RESEND_SECONDS", 0.05)
    outbox = make()
    outbox.append(b"a")
    first = outbox.take(0)
    assert outbox.take(5) == first


class Accounts(RuleBasedStateMachine):
    """Whatever happens, each batch is still there, or was released, dropped or refused; sizes add up; order holds."""

    LIMIT = 3000

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.serial = itertools.count()
        self.held = {}
        self.taken = []
        self.open()

    def open(self):
        """Start an agent's outbox on the directory."""
        spool = Spool(self.directory, "a")
        self.outbox = Outbox(spool, limit_bytes=self.LIMIT, max_age_seconds=3600, write_after=0.0)

    @rule(times=st.integers(1, 300))
    def append(self, times):
        """A new batch comes; the oldest give way."""
        body = b"%06d" % next(self.serial) * times
        self.held[Key(self.outbox.incarnation, self.outbox.append(body))] = body
        excess = sum(map(len, self.held.values())) - self.LIMIT
        for key in [key for key, body in self.held.items() if body != module._EMPTY]:
            if excess > 0:
                excess -= len(self.held[key])
                self.give_up(key)

    def give_up(self, key):
        """Expect a batch to be gone, or to leave a trace where no later one of its agent would tell."""
        rest = [other for other in self.held if other.incarnation == key.incarnation and other.n > key.n]
        if rest or key.incarnation == self.outbox.incarnation:
            del self.held[key]
        else:
            self.held[key] = module._EMPTY

    @rule()
    def take(self):
        """The sender takes what is due."""
        batch = self.outbox.take(0)
        if batch:
            assert self.held[batch.key] == batch.body
            self.taken.append(batch)

    @precondition(lambda self: self.taken)
    @rule(which=st.integers(0, 100))
    def retry(self, which):
        """A batch did not arrive."""
        self.outbox.retry(self.taken[which % len(self.taken)].key)

    @precondition(lambda self: self.taken)
    @rule(which=st.integers(0, 100))
    def release(self, which):
        """The service made durable everything up to a batch."""
        key = self.taken[which % len(self.taken)].key
        self.outbox.release(*key)
        self.held = {k: v for k, v in self.held.items() if k.incarnation != key.incarnation or k.n > key.n}

    @precondition(lambda self: self.taken)
    @rule(which=st.integers(0, 100))
    def poison(self, which):
        """The service refuses a batch."""
        batch = self.taken.pop(which % len(self.taken))
        if self.held.get(batch.key) == batch.body != module._EMPTY:
            self.outbox.poison(batch)
            self.held[batch.key] = module._EMPTY

    @rule()
    def restart(self):
        """The agent ends, and another begins."""
        assert self.outbox.flush(5)
        self.outbox.close()
        self.taken = []
        self.open()

    @invariant()
    def adds_up(self):
        """Everything is where it should be."""
        assert self.outbox.size() == (len(self.held), sum(map(len, self.held.values())))
        assert list(self.outbox._entries) == list(self.held)
        assert self.outbox._unwritten_bytes == sum(entry.size for entry in self.outbox._unwritten.values())

    def teardown(self):
        """Remove what is left."""
        self.outbox.close()
        shutil.rmtree(self.directory)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
