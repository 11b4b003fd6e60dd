"""Write a ring from Python: the standard library alone, two short calls an operation, no lock on the way.

A child of `os.fork` must not write into its parent's ring: it goes on with a private copy that nobody reads.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
import weakref
from array import array
from itertools import count
from threading import get_ident
from time import monotonic_ns
from typing import TYPE_CHECKING

from offbeat.collector.ring import layout, place
from offbeat.collector.ring.create import FIRST_IDENTITY, create

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Token = tuple[int, int, bytes, int, int, int, int]
"""An operation in flight: slot, id, signature, seq, p2p_seq, bytes, start. Opaque to callers."""

NO_SLOT = -1
_begin = layout.OPERATION.pack_into
_finish = layout.ENDED_OPERATION.pack_into
_SHIFT = layout.OPERATION_BYTES.bit_length() - 1
_WORD_SHIFT = _SHIFT - 3


class _Ring:
    """Place and progress of one ring of records; written by one thread, or under a lock."""

    __slots__ = ("cursor", "mask", "offset", "written")

    def __init__(self, offset: int, capacity: int, ring: int) -> None:
        self.offset = offset
        self.mask = capacity - 1
        self.cursor = layout.cursor_at(ring) // 8
        self.written = 0


class RingWriter:
    """The ring of this process. Every method may be called from any thread."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        source: str = "torch",
        lanes: int = layout.LANES,
        lane_records: int | None = None,
    ) -> None:
        """Create the ring's file.

        Args:
            directory: Where to put it; the default is `OFFBEAT_RING_DIR`.
            source: Which recorder writes, up to 15 characters.
            lanes: Threads with a lane of their own.
            lane_records: Operations a lane holds, a power of two; the default is `OFFBEAT_RING_RECORDS`, else 2048.

        Raises:
            OSError: The file cannot be created, or shared memory is full.
            ValueError: The sizes make no ring.
        """
        if sys.byteorder != "little":
            raise ValueError("rings are written on little-endian machines only")
        self._plan = layout.plan(lanes=lanes, lane_records=lane_records or _records_from_environment())
        self._directory = directory or place.ring_directory()
        place.make_directory(self._directory)
        place.sweep(self._directory)
        self.process = place.this_process()
        self.path = self._directory / place.ring_name(self.process, source)
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._ids = count(1)
        areas = self._plan.areas
        self._open_at = areas["open"].offset
        self._open_word = self._open_at // 8
        self._free = list(range(layout.OPEN_SLOTS - 1, -1, -1))
        self._owner = [0] * layout.OPEN_SLOTS
        self._samples = _Ring(areas["samples"].offset, layout.SAMPLES, 0)
        self._messages = _Ring(areas["messages"].offset, layout.MESSAGES, 1)
        self._lanes: dict[int, _Ring] = {}
        self._shared_lane: _Ring | None = None
        self._strings: dict[str, int] = {"": 0}
        self._string_bytes = 0
        self._communicators: dict[tuple[int, str, tuple[int, ...]], int] = {}
        self._attempt = 0
        self._members = 0
        self._identities, self._clocks = FIRST_IDENTITY, 0
        self._file = create(self.path, self._plan, self.process, source)
        self._map: mmap.mmap | None = mmap.mmap(self._file, self._plan.file_bytes)
        self._use(self._map)
        self._pid = os.getpid()
        self.tick()
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _go_silent(reference))

    def _use(self, buffer: mmap.mmap | bytearray) -> None:
        self._buffer = memoryview(buffer)
        self._words = self._buffer.cast("Q")

    def detach(self) -> None:
        """Go on without a file: everything still works and nobody reads it."""
        self._lock = threading.RLock()  # in a forked child another thread of the parent may have held it
        self._use(bytearray(self._plan.file_bytes))

    def close(self) -> None:
        """Let go of the file, which stays for the agent to read out and reap."""
        with self._lock:
            if self._map is None:
                return
            old, words, mapped = self._buffer, self._words, self._map
            self._use(bytearray(self._plan.file_bytes))
            self._map = None
            try:
                words.release()
                old.release()
                mapped.close()
            except BufferError:  # another thread is writing this moment; the map goes with its last view
                pass
            if os.getpid() == self._pid:
                os.close(self._file)

    # Operations

    def signature(
        self,
        communicator: int,
        op: str,
        *,
        native: str = "",
        dtype: str = "",
        redop: str = "",
        peer: int = -1,
        root: int = -1,
        on_device: bool = False,
    ) -> bytes:
        """Pack what operations of one kind share, to be kept and handed to `start` again and again.

        Args:
            communicator: Its id from `communicator`.
            op: One of `layout.OPS`.
            native: The source's own word for the operation.
            dtype: Element type.
            redop: Reduction.
            peer: Global rank of the other side of a send or recv.
            root: Global rank of the root.
            on_device: It runs on a device, and no more than its launch is seen.
        """
        intern = self.intern
        words = (intern(native), intern(dtype), intern(redop), 0, 0)
        return layout.SIGNATURE.pack(communicator, layout.OP_CODE[op], 0, 0, *words, 0, peer, root, on_device)

    def start(self, signature: bytes, nbytes: int, seq: int, p2p_seq: int = -1) -> Token:
        """Note that an operation was launched.

        Args:
            signature: What `signature` returned for its kind.
            nbytes: Payload of this member, bytes.
            seq: Launch counter in the communicator, -1 for point-to-point.
            p2p_seq: Counter of communicator, peer and direction, -1 for collectives.
        """
        now = monotonic_ns()
        number = next(self._ids)
        try:
            slot = self._free.pop()
        except IndexError:
            self._count("open_dropped")
            return NO_SLOT, number, signature, seq, p2p_seq, nbytes, now
        self._owner[slot] = number
        at = self._open_at + (slot << _SHIFT)
        _begin(self._buffer, at, number, signature, 0, number, seq, -1, p2p_seq, nbytes, now, number)
        return slot, number, signature, seq, p2p_seq, nbytes, now

    def end(self, token: Token, state: int = layout.COMPLETED) -> None:
        """Note that an operation ended; a second time does nothing.

        Args:
            token: What `start` returned.
            state: State, plus 256 times the flags.
        """
        now = monotonic_ns()
        slot, number, signature, seq, p2p_seq, nbytes, begun = token
        owner = self._owner
        if slot >= 0:
            if owner[slot] != number:
                return
            owner[slot] = 0
        lane = self._lanes.get(get_ident())
        if lane is None:
            self._end_elsewhere(token, state, now)
        else:
            lane.written = n = lane.written + 1
            at = lane.offset + (((n - 1) & lane.mask) << _SHIFT)
            _finish(self._buffer, at, n, signature, state, number, seq, -1, p2p_seq, nbytes, begun, now, n)
            self._words[lane.cursor] = n
        if slot >= 0:
            self._words[self._open_word + (slot << _WORD_SHIFT)] = 0
            self._free.append(slot)

    def cancel(self, token: Token) -> None:
        """Forget an operation that was never launched after all."""
        slot, number = token[0], token[1]
        if slot >= 0 and self._owner[slot] == number:
            self._owner[slot] = 0
            self._words[self._open_word + (slot << _WORD_SHIFT)] = 0
            self._free.append(slot)

    def _end_elsewhere(self, token: Token, state: int, now: int) -> None:
        """End an operation in a lane claimed this moment, or in the last one, which its threads share."""
        lane = self._claim_lane()
        _, number, signature, seq, p2p_seq, nbytes, begun = token
        with self._lock:
            lane.written = n = lane.written + 1
            at = lane.offset + (((n - 1) & lane.mask) << _SHIFT)
            _finish(self._buffer, at, n, signature, state, number, seq, -1, p2p_seq, nbytes, begun, now, n)
            self._words[lane.cursor] = n

    def _claim_lane(self) -> _Ring:
        with self._lock:
            if self._shared_lane is not None:
                return self._shared_lane
            index = len(self._lanes)
            area = self._plan.areas["lanes"]
            lane = _Ring(area.offset + index * area.capacity * area.record_bytes, area.capacity, 2 + index)
            self._words[lane.cursor + 1] = threading.get_native_id()
            self._words[layout.counter_at("lanes") // 8] = index + 1
            if index == self._plan.lanes - 1:
                self._shared_lane = lane
            else:
                self._lanes[get_ident()] = lane
            return lane

    # Tables

    def intern(self, text: str) -> int:
        """Return the id of a string, 0 where there is no more room."""
        known = self._strings.get(text)
        if known is not None:
            return known
        data = text.encode("utf-8", "replace")[:1024]
        with self._lock:
            if text in self._strings:
                return self._strings[text]
            number = len(self._strings)
            size = (layout.STRING_HEAD.size + len(data) + 3) & ~3
            if self._string_bytes + size > layout.STRING_BYTES or number > 0xFFFF:
                self._count("table_dropped")
                return 0
            at = self._plan.areas["strings"].offset + self._string_bytes
            layout.STRING_HEAD.pack_into(self._buffer, at, len(data))
            self._buffer[at + 4 : at + 4 + len(data)] = data
            self._string_bytes += size
            self._words[layout.counter_at("strings") // 8] = number
            self._strings[text] = number
            return number

    def communicator(self, word: str, name: str, rank: int, members: Sequence[int], size: int | None = None) -> int:
        """Return the id of a communicator, 0 where there is no more room.

        Args:
            word: The same on all its members.
            name: What the job calls it.
            rank: Our rank in it.
            members: Global ranks of its members, in its order; empty where not known.
            size: How many they are, where they are not known.
        """
        key = (self._attempt, word, tuple(members))
        known = self._communicators.get(key)
        if known is not None:
            return known
        word_id, name_id = self.intern(word), self.intern(name)
        with self._lock:
            if key in self._communicators:
                return self._communicators[key]
            number = len(self._communicators) + 1
            if number > layout.COMMUNICATORS:
                self._count("table_dropped")
                return 0
            first, step, offset, listed = self._put_members(members)
            at = self._plan.areas["communicators"].offset + (number - 1) * layout.COMMUNICATOR.size
            sizes = (rank, len(members) or size or 0, first, step, offset, listed)
            layout.COMMUNICATOR.pack_into(
                self._buffer, at, word_id, name_id, *sizes, time.monotonic_ns(), self._attempt
            )
            self._words[layout.counter_at("communicators") // 8] = number
            self._communicators[key] = number
            return number

    def _put_members(self, members: Sequence[int]) -> tuple[int, int, int, int]:
        if not members:
            return -1, 0, 0, 0
        step = members[1] - members[0] if len(members) > 1 else 1
        if all(rank == members[0] + i * step for i, rank in enumerate(members)):
            return members[0], step, 0, 0
        if self._members + len(members) > layout.MEMBERS:
            self._count("table_dropped")
            return -1, 0, 0, 0
        offset, self._members = self._members, self._members + len(members)
        at = self._plan.areas["members"].offset + 4 * offset
        self._buffer[at : at + 4 * len(members)] = array("i", members).tobytes()
        self._words[layout.counter_at("members") // 8] = self._members
        return 0, 0, offset, len(members)

    # What is said now and then

    def identify(self, *, job: str, attempt: int, rank: int, world: int, local_rank: int) -> None:
        """Say which job and rank this process is."""
        with self._lock:
            self._attempt = attempt
            self._identities = n = self._identities + 1
            at = layout.IDENTITY_AT + layout.IDENTITY_STRIDE * (n & 1)
            name = job.encode("ascii", "replace")[:128]
            layout.IDENTITY.pack_into(self._buffer, at, n, attempt, rank, world, local_rank, name, n)

    def tick(self) -> None:
        """Write a fresh pair of (monotonic, real) time; to be called about once a second."""
        with self._lock:
            self._clocks = n = self._clocks + 1
            at = layout.CLOCK_AT + layout.CLOCK_STRIDE * (n & 1)
            before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            layout.CLOCK.pack_into(self._buffer, at, n, (before + after) // 2, real, n)

    def sample(self, at_ns: int, kind: str, where: str, seen: int) -> None:
        """Say how often the main thread was seen at one place in the second that ended at *at_ns* (monotonic)."""
        with self._lock:
            at, n = self._next(self._samples, layout.SAMPLE_BYTES)
            layout.SAMPLE.pack_into(self._buffer, at, n, at_ns, seen, kind.encode()[:12], _cut(where, 216), n)
            self._words[self._samples.cursor] = n

    def message(self, kind: str, text: str, code: int | None = None) -> None:
        """Leave a one-line message: an exception, a note of what cannot be seen, a phase."""
        line = " ".join(text.split())[:300]
        with self._lock:
            at, n = self._next(self._messages, layout.MESSAGE_BYTES)
            number = layout.NO_CODE if code is None else code
            now = time.monotonic_ns()
            layout.MESSAGE.pack_into(self._buffer, at, n, now, number, kind.encode()[:32], _cut(line, 448), n)
            self._words[self._messages.cursor] = n

    def exit(self, code: int) -> None:
        """Leave the exit code, the first one said counting; a process that is killed leaves none."""
        with self._lock:
            if self._words[layout.EXIT_AT // 8] == 0:
                layout.EXIT.pack_into(self._buffer, layout.EXIT_AT, 1, code, time.monotonic_ns(), 1)

    def _next(self, ring: _Ring, record_bytes: int) -> tuple[int, int]:
        n = ring.written
        ring.written = n + 1
        return ring.offset + (n & ring.mask) * record_bytes, n + 1

    def _count(self, name: str) -> None:
        self._words[layout.counter_at(name) // 8] += 1


def _records_from_environment() -> int:
    text = os.environ.get("OFFBEAT_RING_RECORDS", "")
    if not text.isdigit():
        return layout.LANE_RECORDS
    # With more than 2^15 the file is larger than readers take.
    return 1 << max(8, min(15, int(text).bit_length() - 1))


def _go_silent(reference: weakref.ref[RingWriter]) -> None:
    writer = reference()
    if writer is not None:
        writer.detach()


def _cut(text: str, limit: int) -> bytes:
    """Encode *text* into at most *limit* bytes without half a character at the end."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()
