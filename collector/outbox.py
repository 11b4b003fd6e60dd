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
    sends: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch to send now; `resent`: it was sent before; `first`: none before it is left."""

    key: Key
    body: bytes
    resent: bool
    first: bool


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
    ) -> None:
        """Take over what *spool* holds; its batches keep their names and go first."""
        self.counts: Counter[str] = Counter()
        self._spool = spool
        self._limit = limit_bytes
        self._max_age = max_age_seconds
        self._memory = memory_bytes
        self._write_after = write_after
        self._clock_ns = clock_ns
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
            age = max(0.0, clock_ns() / 1e9 - found.written_at)
            self._entries[found.key] = _Entry(found.size, time.monotonic() - age, None)
            self._bytes += found.size
            newest = found.key.incarnation
        self.counts["recovered"] = len(self._entries)
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
            self._add(key, _Entry(len(body), time.monotonic(), body))
            self._drop_excess()
            self._changed.notify_all()
            return key.n

    def take(self, timeout: float) -> Outgoing | None:
        """Wait up to *timeout* seconds for a batch that is due; oldest first, each once unless it must be repeated."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                now = time.monotonic()
                due = self._due(now)
                if due is None:
                    if now >= deadline or self._closed:
                        return None
                    again = min((entry.sent_at or now for entry in self._entries.values()), default=now)
                    self._changed.wait(min(deadline, again + RESEND_SECONDS) - now)
                    continue
                key, entry, first = due
                body, resent = entry.body, entry.sends > 1
            if body is None:
                body = self._load(key)
            if body is not None:
                return Outgoing(key, body, resent, first)

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
                else:  # assigned to a key that is there, it keeps its place in the order
                    self._forget(batch.key)
                    self._add(batch.key, _Entry(len(_EMPTY), time.monotonic(), _EMPTY))
            self._changed.notify_all()

    def renumber(self) -> None:
        """Give all batches new names without gaps under a new incarnation.

        Needed when the service waits for a number that is no more: it was dropped here, or lost there.
        """
        with self._changed:
            self.incarnation = max(self._clock_ns(), self.incarnation + 1)
            old, self._entries, self._unwritten = self._entries, OrderedDict(), OrderedDict()
            self._bytes = self._unwritten_bytes = 0
            self._next = 1
            for key, entry in old.items():
                new = Key(self.incarnation, self._next)
                if entry.body is None:
                    try:
                        self._spool.rename(key, new)
                    except OSError:
                        self.counts["damaged"] += 1
                        continue
                self._next += 1
                entry.sent_at, entry.sends = None, 0
                self._add(new, entry)
            self.counts["renumbered"] += 1
            self._changed.notify_all()

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

    def _due(self, now: float) -> tuple[Key, _Entry, bool] | None:
        first = True
        for key, entry in self._entries.items():
            if entry.sent_at is None or now - entry.sent_at >= RESEND_SECONDS:
                entry.sent_at = now
                entry.sends += 1
                return key, entry, first
            first = False
        return None

    def _drop_excess(self) -> None:
        oldest = time.monotonic() - self._max_age
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if self._bytes <= self._limit and entry.created_at >= oldest:
                break
            self._drop(key)
        while self._unwritten_bytes > self._memory:
            self._drop(next(iter(self._unwritten)))

    def _drop(self, key: Key) -> None:
        self._remove(key)
        self.counts["dropped"] += 1
        self.counts["dropping"] += 1
        if self.counts["dropping"] == 1:
            _log.error("the spool is full: the oldest batches are dropped", dropped_before=self.counts["dropped"] - 1)

    def _load(self, key: Key) -> bytes | None:
        """Read a batch from disk; without the lock."""
        try:
            return self._spool.load(key)
        except DamagedError as error:
            with self._changed:
                if key in self._entries:
                    self._remove(key)
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
        return max(due_at, self._disk_retry_at or 0.0) - time.monotonic()

    def _write(self, key: Key, entry: _Entry, body: bytes) -> None:
        """Write a batch; without the lock."""
        try:
            self._spool.write(key, body)
        except OSError as error:
            with self._changed:
                self.counts["write_errors"] += 1
                if self._disk_retry_at is None:
                    _log.error("cannot write to the spool: batches are kept in memory", why=error.strerror)
                self._disk_retry_at = time.monotonic() + DISK_RETRY_SECONDS
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
            else:  # durable, dropped or renumbered while it was being written
                self._doomed.append(key)
            self._changed.notify_all()
