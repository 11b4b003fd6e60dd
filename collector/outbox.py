"""What is still to be made durable by the service: numbered, in order, bounded, in memory first and then on disk.

While the service answers quickly a batch never touches the disk. One that is not durable after a moment is written
to the spool by a thread of its own, so that neither a slow disk nor a full one delays reading: no other thread
touches the disk while it holds the lock.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from offbeat import wire
from offbeat.collector.spool import DamagedError, Key, Spool

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_AFTER_SECONDS = 0.2
"""How long a batch waits for the service before it goes to disk; without it a node syncs its disk at every batch."""
MEMORY_BYTES = 16 << 20
"""Batches that could not be written; without a bound a full disk fills the memory instead."""
RESEND_SECONDS = 10.0
"""How long a batch that was sent may be not yet durable before it is sent again."""
DISK_RETRY_SECONDS = 5.0
"""How long a disk that refused is left alone."""
GRACE_SECONDS = 600.0
"""How long what an earlier agent left is at least offered to the service, however old it looks; without it a clock that
was set forward between two starts throws away a whole spool."""
_CLOSE_SECONDS = 2.0
_EMPTY = wire.encode({})

_log = structlog.get_logger()


@dataclass(slots=True)
class _Entry:
    size: int
    created_at: float
    body: bytes | None
    """None once it is on disk."""
    sent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch to send now.

    Args:
        key: Its name.
        body: Its wire form.
        gap: How many numbers right before its own will not be sent any more: durable already, or given up.
    """

    key: Key
    body: bytes
    gap: int


class Outbox:
    """All batches that are not durable, oldest first. Safe for one reader, one sender and its own writer thread."""

    def __init__(
        self,
        spool: Spool,
        *,
        limit_bytes: int,
        max_age_seconds: float,
        memory_bytes: int = MEMORY_BYTES,
        write_after: float = WRITE_AFTER_SECONDS,
        clock_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over what *spool* holds; its batches keep their names and go first.

        Args:
            spool: Where batches wait on disk.
            limit_bytes: Most bytes of batches that wait.
            max_age_seconds: How long a batch may wait. Measured by *clock*, which nobody can set; only of what an
                earlier agent left, the file says how old it is.
            memory_bytes: Most bytes of batches that wait and are not on disk.
            write_after: Seconds until a batch goes to disk.
            clock_ns: Unix time, ns; names this agent's run, and tells the age of what an earlier one left.
            clock: Seconds that only grow.
        """
        self.counts: Counter[str] = Counter()
        self._spool = spool
        self._limit = limit_bytes
        self._max_age = max_age_seconds
        self._memory = memory_bytes
        self._write_after = write_after
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._unwritten: OrderedDict[Key, _Entry] = OrderedDict()
        self._doomed: list[Key] = []
        self._bytes = 0
        self._unwritten_bytes = 0
        self._next = 1
        self._flushing = False
        self._closed = False
        self._disk_retry_at: float | None = None
        newest = 0
        for found in spool.recover():
            age = max(0.0, min(clock_ns() / 1e9 - found.written_at, max_age_seconds - GRACE_SECONDS))
            self._entries[found.key] = _Entry(found.size, clock() - age, None)
            self._bytes += found.size
            newest = found.key.incarnation
        self.counts["recovered"] = len(self._entries)
        self.counts["damaged"] = spool.quarantined
        self.incarnation = max(clock_ns(), newest + 1)
        with self._changed:
            self._drop_excess()
        self._writer = threading.Thread(target=self._write_loop, name="offbeat-spool", daemon=True)
        self._writer.start()

    def append(self, body: bytes) -> int:
        """Take a batch; returns its number at once."""
        with self._changed:
            key = Key(self.incarnation, self._next)
            self._next += 1
            self._add(key, _Entry(len(body), self._clock(), body))
            self._drop_excess()
            self._changed.notify_all()
            return key.n

    def take(self, timeout: float) -> Outgoing | None:
        """Wait up to *timeout* seconds for a batch that is due; oldest first, each once unless it must be repeated."""
        deadline = self._clock() + timeout
        while True:
            with self._changed:
                now = self._clock()
                due = self._due(now)
                if due is None:
                    if now >= deadline or self._closed:
                        return None
                    again = min((entry.sent_at or now for entry in self._entries.values()), default=now)
                    self._changed.wait(min(deadline, again + RESEND_SECONDS) - now)
                    continue
                key, entry, gap = due
                body = entry.body
            if body is None:
                body = self._load(key)
            if body is not None:
                return Outgoing(key, body, gap)

    def retry(self, key: Key) -> None:
        """Make a batch due again: it did not arrive."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is not None:
                entry.sent_at = None

    def release(self, incarnation: int, durable: int) -> None:
        """Let go of all batches of *incarnation* numbered up to *durable*."""
        with self._changed:
            gone = []
            for key in self._entries:
                if key.incarnation == incarnation:
                    if key.n > durable:
                        break
                    gone.append(key)
            for key in gone:
                self._remove(key)
            self.counts["delivered"] += len(gone)
            if gone and self._bytes <= self._limit // 2:
                self.counts["dropping"] = 0
            self._changed.notify_all()

    def poison(self, batch: Outgoing) -> None:
        """Put aside a batch that the service refuses; an empty one takes its number, so that the rest can follow."""
        self._spool.quarantine(batch.key, batch.body)
        with self._changed:
            self.counts["refused"] += 1
            if batch.key in self._entries:
                if batch.body == _EMPTY:
                    self._remove(batch.key)
                else:
                    self._replace(batch.key)
            self._changed.notify_all()

    def lost(self) -> int:
        """Return how many batches were given up since the agent started: too many, too old, damaged or refused."""
        with self._changed:
            return self.counts["dropped"] + self.counts["damaged"] + self.counts["refused"]

    def safe(self, key: Key) -> bool:
        """Say whether a batch can no longer be lost by a kill of the agent: durable, on disk, or gone."""
        with self._changed:
            return key not in self._unwritten

    def size(self) -> tuple[int, int]:
        """Return how many batches wait, and their bytes."""
        with self._changed:
            return len(self._entries), self._bytes

    def flush(self, timeout: float) -> bool:
        """Write everything to disk now; False if it is not all there within *timeout* seconds."""
        with self._changed:
            errors = self.counts["write_errors"]
            self._flushing, self._disk_retry_at = True, None
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._unwritten or self.counts["write_errors"] > errors, timeout)
            self._flushing = False
            return not self._unwritten

    def close(self) -> None:
        """Stop the writer thread; what is not on disk is lost, so `flush` first."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._writer.join(_CLOSE_SECONDS)
        self._spool.close()

    # The rest is called with the lock held, unless it says otherwise.

    def _add(self, key: Key, entry: _Entry) -> None:
        self._entries[key] = entry
        self._bytes += entry.size
        if entry.body is not None:
            self._unwritten[key] = entry
            self._unwritten_bytes += entry.size

    def _remove(self, key: Key) -> None:
        self._forget(key)
        del self._entries[key]

    def _forget(self, key: Key) -> None:
        """Undo what `_add` counted."""
        entry = self._entries[key]
        self._bytes -= entry.size
        if entry.body is None:
            self._doomed.append(key)
        else:
            del self._unwritten[key]
            self._unwritten_bytes -= entry.size

    def _give_up(self, key: Key) -> None:
        """Let go of a batch; where no later one would tell of it, an empty one takes its number."""
        if self._last_of_earlier(key):
            self._replace(key)
        else:
            self._remove(key)

    def _replace(self, key: Key) -> None:
        """Put an empty batch in the place of one that is given up."""
        self._forget(key)
        self._add(key, _Entry(len(_EMPTY), self._clock(), _EMPTY))  # keeps its place in the order

    def _last_of_earlier(self, key: Key) -> bool:
        """Say whether no later batch of an earlier agent is left that would tell of the gap."""
        if key.incarnation == self.incarnation or self._entries[key].size == len(_EMPTY):
            return False
        return not any(other.incarnation == key.incarnation and other.n > key.n for other in self._entries)

    def _due(self, now: float) -> tuple[Key, _Entry, int] | None:
        before = Key(0, 0)
        for key, entry in self._entries.items():
            if entry.sent_at is None or now - entry.sent_at >= RESEND_SECONDS:
                entry.sent_at = now
                return key, entry, key.n - 1 - (before.n if before.incarnation == key.incarnation else 0)
            before = key
        return None

    def _drop_excess(self) -> None:
        oldest, excess = self._clock() - self._max_age, self._bytes - self._limit
        victims = []
        for key, entry in self._entries.items():
            if excess <= 0 and entry.created_at >= oldest:
                break
            if entry.size == len(_EMPTY):  # stands for what is gone, so that it is told
                continue
            victims.append(key)
            excess -= entry.size
        for key in victims:
            self._drop(key)
        while self._unwritten_bytes > self._memory:
            self._drop(next(iter(self._unwritten)))

    def _drop(self, key: Key) -> None:
        self.counts["dropped"] += 1
        self.counts["dropped_bytes"] += self._entries[key].size
        self.counts["dropping"] += 1
        self._give_up(key)
        if self.counts["dropping"] == 1:
            _log.error("the spool is full: the oldest batches are dropped", dropped_before=self.counts["dropped"] - 1)

    def _load(self, key: Key) -> bytes | None:
        """Read a batch from disk; without the lock."""
        try:
            return self._spool.load(key)
        except DamagedError as error:
            with self._changed:
                if key in self._entries:
                    self._give_up(key)
                    self.counts["damaged"] += 1
                    _log.warning("a batch in the spool cannot be read", why=str(error))
            return None

    def _write_loop(self) -> None:
        while True:
            with self._changed:
                doomed, self._doomed = self._doomed, []
                work = self._to_write()
                if work is None and not doomed:
                    if self._closed:
                        return
                    self._changed.wait(self._until_due())
                    continue
            for key in doomed:
                self._spool.delete(key)
            if work is not None:
                self._write(*work)

    def _to_write(self) -> tuple[Key, _Entry, bytes] | None:
        for key, entry in self._unwritten.items():
            if self._until_due() <= 0 and entry.body is not None and not self._closed:
                return key, entry, entry.body
            break
        return None

    def _until_due(self) -> float:
        """Return seconds until there is something to write."""
        if not self._unwritten:
            return 3600.0
        due_at = 0.0 if self._flushing else next(iter(self._unwritten.values())).created_at + self._write_after
        return max(due_at, self._disk_retry_at or 0.0) - self._clock()

    def _write(self, key: Key, entry: _Entry, body: bytes) -> None:
        """Write a batch; without the lock."""
        try:
            self._spool.write(key, body)
        except OSError as error:
            with self._changed:
                self.counts["write_errors"] += 1
                if self._disk_retry_at is None:
                    _log.error("cannot write to the spool: batches are kept in memory", why=error.strerror)
                self._disk_retry_at = self._clock() + DISK_RETRY_SECONDS
                self._changed.notify_all()
            return
        with self._changed:
            if self._disk_retry_at is not None:
                _log.info("the spool can be written again")
                self._disk_retry_at = None
            if self._unwritten.get(key) is entry:
                del self._unwritten[key]
                self._unwritten_bytes -= entry.size
                entry.body = None
            else:  # durable or dropped while it was being written
                self._doomed.append(key)
            self._changed.notify_all()
