"""Read rings by `pread`, trusting nothing in them: a hostile file raises `RingError` and nothing else.

Never mapped: another user who truncates the file must not kill the reader with SIGBUS.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from typing import TYPE_CHECKING, Self

import numpy as np

from offbeat.collector.ring import layout, place
from offbeat.collector.ring.errors import RingError
from offbeat.collector.ring.place import discover
from offbeat.collector.ring.polled import ExitMark, Message, RingHeader, RingPoll, Sample
from offbeat.collector.ring.tables import CommInfo, Tables

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "OPERATION",
    "TRANSFER",
    "CommInfo",
    "ExitMark",
    "Message",
    "RingError",
    "RingHeader",
    "RingPoll",
    "RingReader",
    "Sample",
    "discover",
    "reap",
]

OPERATION = np.dtype(layout.OPERATION_FIELDS)
TRANSFER = np.dtype(layout.TRANSFER_FIELDS)
_FLOCK = struct.Struct("hh4xqqi4x")
_U64 = struct.Struct("<Q")
_MAX_CURSOR = 1 << 62
_BOUNDS = {
    "strings": (1, 1 << 20),
    "communicators": (layout.COMMUNICATOR.size, 1 << 12),
    "members": (4, 1 << 20),
    "open": (layout.OPERATION_BYTES, 1 << 16),
    "samples": (layout.SAMPLE_BYTES, 1 << 12),
    "messages": (layout.MESSAGE_BYTES, 1 << 12),
    "lanes": (layout.OPERATION_BYTES, 1 << 16),
}


class RingReader:
    """One ring, read again and again; each poll returns what is new."""

    def __init__(self, path: Path) -> None:
        """Open and check a ring.

        Raises:
            RingError: It cannot be opened, or is no ring.
        """
        self.path = path
        try:
            # Non-blocking, or a FIFO of that name would stop the agent here.
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise RingError(f"{path}: {error.strerror}") from None
        try:
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode):
                raise RingError(f"{path}: no regular file")
            if not layout.HEADER_BYTES <= status.st_size <= layout.MAX_FILE_BYTES:
                raise RingError(f"{path}: {status.st_size} bytes")
            self._inode = status.st_ino
            head = self._read(0, layout.HEADER_BYTES)
            self._plan = _plan(head, status.st_size, path)
            self._fixed = layout.HEADER.unpack_from(head)
            self._version = self._fixed[1]
            self.owner = status.st_uid
            self._tables = Tables(self._read, self._plan)
            self._seen = [0] * (2 + self._plan.lanes)
            self._lost = 0
            self._recent = np.zeros(0, np.uint64)
            self.header = self._identity(head)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def strings(self) -> list[str]:
        """The interned strings so far, by id; 0 is the empty one."""
        return self._tables.strings

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def local_pid(self) -> int | None:
        """Return the writer's process id as this process sees it, or None where it is gone or cannot be seen."""
        header = self.header
        if header.pidns == place.namespace("pid") and place.start_ticks(header.pid) == header.start_ticks:
            return header.pid
        return self._lock_holder() or None

    def alive(self) -> bool:
        """Tell whether the writing process still lives and this is still its ring."""
        try:
            if os.stat(self.path, follow_symlinks=False).st_ino != self._inode:  # noqa: PTH116 - runs at every poll
                return False
        except OSError:
            return False
        return self.local_pid() is not None or self._lock_holder() is not None

    def _lock_holder(self) -> int | None:
        # The writer holds a lock on its ring; the kernel says who, in our own terms (0: in no namespace of ours).
        if self._file < 0:
            return None
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(0, pid)

    def poll(self) -> RingPoll:
        """Return what is new since the last poll, and all that is in flight.

        Raises:
            RingError: The file was truncated, or holds what no writer wrote.
        """
        before = self._read(0, layout.HEADER_BYTES)
        # Most lanes hold nothing new at most polls.
        news = [ring for ring, seen in enumerate(self._seen) if _cursor(before, ring) != seen]
        blocks = {ring: self._new_records(ring, before) for ring in news}
        open_now, torn = self._open_operations()
        after = self._read(0, layout.HEADER_BYTES)
        self.header = self._identity(after)
        comms = self._tables.update(after)

        overwritten = 0
        kept: dict[int, NDArray[np.void]] = {}
        for ring, (start, data) in blocks.items():
            kept[ring], lost, broken = self._trust(ring, start, data, after)
            overwritten += lost
            torn += broken
        # As words: numpy takes the fields of structured arrays apart to join them, a hundred times slower.
        words = [lane.view(np.uint64) for ring, lane in kept.items() if ring >= 2 and len(lane)]
        completed = np.concatenate(words).view(OPERATION) if words else np.zeros(0, OPERATION)
        if len(completed):
            self._recent = completed["id"].copy()
        # A writer killed between the two steps of an end has left it in both places.
        if len(open_now):
            open_now = open_now[~np.isin(open_now["id"], self._recent)]
        completed, moved = self._apart(completed)
        open_now, moving = self._apart(open_now)
        for array in (completed, open_now):
            if len(array):
                self._tables.fence(array)
        for array in (moved, moving):
            if len(array):
                self._tables.fence_transfers(array)
        dropped = sum(_counter(after, name) for name in ("open_dropped", "table_dropped", "lane_dropped"))
        dropped, self._lost = dropped - self._lost, dropped
        return RingPoll(
            self.header,
            comms,
            completed,
            open_now,
            moved,
            moving,
            [_sample(record) for record in kept.get(0, ())],
            [_message(record) for record in kept.get(1, ())],
            _exit_mark(after),
            overwritten,
            torn,
            dropped,
            _clock(after),
        )

    def _new_records(self, ring: int, head: bytes) -> tuple[int, NDArray[np.void]]:
        area, offset, dtype = self._place(ring)
        written = _cursor(head, ring)
        # A cursor that went back belongs to two writers at odds; what they wrote meanwhile is not missed for long.
        start = max(min(self._seen[ring], written), written - area.capacity)
        first, n = start % area.capacity, written - start
        run = min(n, area.capacity - first)
        data = self._read(offset + first * area.record_bytes, run * area.record_bytes)
        if run < n:
            data += self._read(offset, (n - run) * area.record_bytes)
        return start, np.frombuffer(data, dtype)

    def _trust(self, ring: int, start: int, data: NDArray[np.void], after: bytes) -> tuple[NDArray[np.void], int, int]:
        """Sort out what was overwritten while it was copied, and what was only half written."""
        area, _, _ = self._place(ring)
        skipped = max(0, start - self._seen[ring])
        self._seen[ring] = start + len(data)
        stale = min(len(data), max(0, _cursor(after, ring) - area.capacity + 1 - start)) if len(data) else 0
        data = data[stale:]
        numbers = np.arange(start + stale + 1, start + stale + 1 + len(data), dtype=np.uint64)
        good = (data["head"] == numbers) & (data["tail"] == numbers)
        return data[good], skipped + stale, int(len(data) - np.count_nonzero(good))

    def _place(self, ring: int) -> tuple[layout.Area, int, np.dtype[np.void]]:
        if ring < 2:
            area = self._plan.areas[("samples", "messages")[ring]]
            return area, area.offset, (_SAMPLE, _MESSAGE)[ring]
        area = self._plan.areas["lanes"]
        return area, area.offset + (ring - 2) * area.capacity * area.record_bytes, OPERATION

    def _open_operations(self) -> tuple[NDArray[np.void], int]:
        """Read the table twice: what is in flight by both copies, and how many are half written by both."""
        area = self._plan.areas["open"]
        first = np.frombuffer(self._read(area.offset, area.record_bytes * area.capacity), OPERATION)
        used = np.flatnonzero(first["head"])
        if not len(used):
            return first[used], 0
        second = np.frombuffer(self._read(area.offset, area.record_bytes * area.capacity), OPERATION)
        words = area.record_bytes // 8
        same = (_words(first[used], words) == _words(second[used], words)).all(axis=1)
        steady = first[used[same]]
        whole = steady["head"] == steady["tail"]
        return steady[whole], int(len(steady) - np.count_nonzero(whole))

    def _apart(self, both: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return the operations and the transfers among some records."""
        transfers = (both["op"] == layout.TRANSFER) & (self._version >= layout.VERSION_TRANSFERS)
        if not transfers.any():
            return both, np.zeros(0, TRANSFER)
        words = _words(both, layout.OPERATION_BYTES // 8)
        return words[~transfers].reshape(-1).view(OPERATION), words[transfers].reshape(-1).view(TRANSFER)

    def _identity(self, head: bytes) -> RingHeader:
        copies = (layout.IDENTITY.unpack_from(head, layout.IDENTITY_AT + i * layout.IDENTITY_STRIDE) for i in (0, 1))
        # Whichever copy is whole and newer; a writer killed between two bytes leaves the other.
        _, attempt, rank, world, local_rank, job, _ = max(
            (copy for copy in copies if copy[0] == copy[-1]), default=(0, 0, -1, -1, -1, b"", 0)
        )
        created, pid, uid, ticks, pidns, netns, source, hostname = self._fixed[4:]
        # Up to the first null: one within a name would have the service refuse the whole host's batch.
        texts = [text.partition(b"\0")[0].decode("ascii", "replace") for text in (job, hostname, source)]
        names = (pid, ticks, pidns, netns, texts[1], uid, created, texts[2])
        return RingHeader(texts[0], attempt, rank, world, local_rank, *names)

    def _read(self, offset: int, size: int) -> bytes:
        if self._file < 0:
            raise RingError(f"{self.path}: closed")
        try:
            data = os.pread(self._file, size, offset)
        except OSError as error:
            raise RingError(f"{self.path}: {error.strerror}") from None
        if len(data) != size:
            raise RingError(f"{self.path}: truncated")
        return data


def reap(path: Path) -> bool:
    """Remove a ring whose process is gone, after it was read out; tell whether it went."""
    try:
        with RingReader(path) as reader:
            if reader.alive():
                return False
        path.unlink()
    except (RingError, OSError):
        return False
    return True


_SAMPLE = np.dtype(
    [("head", "<u8"), ("at", "<i8"), ("n", "<u4"), ("kind", "S12"), ("where", "S216"), ("tail", "<u8")],
)
_MESSAGE = np.dtype(
    [("head", "<u8"), ("at", "<i8"), ("code", "<i8"), ("kind", "S32"), ("text", "S448"), ("tail", "<u8")],
)


def _plan(head: bytes, size: int, path: Path) -> layout.Plan:
    magic, version, header_bytes, file_bytes = layout.HEADER.unpack_from(head)[:4]
    if magic != layout.MAGIC or header_bytes != layout.HEADER_BYTES:
        raise RingError(f"{path}: no ring")
    if version not in {layout.VERSION, layout.VERSION_TRANSFERS}:
        raise RingError(f"{path}: version {version}; this reader knows {layout.VERSION} and {layout.VERSION_TRANSFERS}")
    lanes = head[layout.LANE_COUNT_AT]
    if not 1 <= lanes <= layout.MAX_LANES:
        raise RingError(f"{path}: {lanes} lanes")
    areas, end = {}, layout.HEADER_BYTES
    for index, (name, (record_bytes, most)) in enumerate(_BOUNDS.items()):
        area = layout.Area(*layout.AREA.unpack_from(head, layout.AREAS_AT + index * layout.AREA.size))
        is_ring = name in {"samples", "messages", "lanes"}
        if area.offset != end or area.record_bytes != record_bytes or not 2 <= area.capacity <= most:
            raise RingError(f"{path}: area {name} out of place")
        if is_ring and area.capacity & (area.capacity - 1):
            raise RingError(f"{path}: {name}: {area.capacity} is no power of two")
        areas[name] = area
        end += record_bytes * area.capacity * (lanes if name == "lanes" else 1)
    if not end == file_bytes == size:
        raise RingError(f"{path}: {size} bytes; its header makes them {end} and says {file_bytes}")
    return layout.Plan(areas, lanes, end)


def _words(records: NDArray[np.void], each: int) -> NDArray[np.uint64]:
    return records.view(np.uint64).reshape(-1, each)


def _cursor(head: bytes, ring: int) -> int:
    value: int = _U64.unpack_from(head, layout.cursor_at(ring))[0]
    if value > _MAX_CURSOR:
        raise RingError(f"cursor {value}")
    return value


def _counter(head: bytes, name: str) -> int:
    value: int = _U64.unpack_from(head, layout.counter_at(name))[0]
    return value


def _clock(head: bytes) -> tuple[int, int]:
    copies = (layout.CLOCK.unpack_from(head, layout.CLOCK_AT + i * layout.CLOCK_STRIDE) for i in (0, 1))
    newest = max((copy for copy in copies if copy[0] == copy[3] != 0), default=(0, 0, 0, 0))
    return newest[1], newest[2]


def _exit_mark(head: bytes) -> ExitMark | None:
    begun, code, at, done = layout.EXIT.unpack_from(head, layout.EXIT_AT)
    return ExitMark(code, at) if begun == done != 0 else None


def _sample(record: np.void) -> Sample:
    kind, where = (bytes(record[name]).decode("utf-8", "replace") for name in ("kind", "where"))
    return Sample(int(record["at"]), kind, where, int(record["n"]))


def _message(record: np.void) -> Message:
    kind, text = (bytes(record[name]).decode("utf-8", "replace") for name in ("kind", "text"))
    code = int(record["code"])
    return Message(int(record["at"]), kind, text, None if code == layout.NO_CODE else code)
