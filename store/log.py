"""The append log: accepted batches as they came off the wire, on disk before anybody is told they are safe.

A log is a file of records `magic, length of the head, length of the body, CRC-32 of both, head (JSON), body (wire
form)`. Its writer holds a lock on it for as long as it lives: a log without a lock belongs to a dead process and may
be taken over.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_RECORD = struct.Struct("<4sIII")
_MAGIC = b"OBL1"
SUFFIX = ".log"


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch: its id (host, incarnation, n), when it was received (ns), and its wire form."""

    host: str
    incarnation: int
    n: int
    received_at: int
    body: bytes


class Log:
    """A log this process writes, or has taken over from one that died."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Wrap an open, locked file; use `create` or `take_over`."""
        self.path = path
        self.name = path.name
        self._created_at = time.monotonic()
        self._descriptor = descriptor

    @property
    def age(self) -> float:
        """Seconds since it was created."""
        return time.monotonic() - self._created_at

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Create a log in *directory*, locked before anybody can find it.

        Raises:
            OSError: The disk refuses.
        """
        name = f"{time.time_ns():020d}-{uuid4().hex[:8]}"
        hidden, path = directory / f"{name}.new", directory / f"{name}{SUFFIX}"
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        hidden.rename(path)
        sync_directory(directory)
        return cls(path, descriptor)

    @classmethod
    def take_over(cls, path: Path) -> Self | None:
        """Return the log at *path* if its writer is dead; None if it lives, or the log is already gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who waited for nothing may still come second: the first has sealed and deleted it meanwhile.
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
        except BlockingIOError:
            pass
        os.close(descriptor)
        return None

    def append(self, entries: Sequence[Entry]) -> None:
        """Write *entries* and wait until the disk has them.

        Raises:
            OSError: The disk refuses; which entries it holds is then unknown, and the log must not be written again.
        """
        view = memoryview(b"".join(_pack(entry) for entry in entries))
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fdatasync(self._descriptor)

    def entries(self) -> Iterator[Entry]:
        """Yield what can be read. A damaged stretch costs the records it touches, not those behind it."""
        data = self.path.read_bytes()
        at = 0
        while (at := data.find(_MAGIC, at)) >= 0:
            entry, end = _unpack(data, at)
            if entry is None:
                at += 1
                continue
            yield entry
            at = end

    def delete(self) -> None:
        """Delete the file: what it holds is safe elsewhere."""
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> None:
        """Keep the file under a name that is not read again: somebody must look at it."""
        self.path.rename(self.path.with_suffix(".unreadable"))
        self.close()

    def close(self) -> None:
        """Let go of the file, and of the lock on it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sync_directory(directory: Path) -> None:
    """Wait until the disk has the names in *directory*."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pack(entry: Entry) -> bytes:
    head = json.dumps([entry.host, entry.incarnation, entry.n, entry.received_at]).encode()
    crc = zlib.crc32(entry.body, zlib.crc32(head))
    return _RECORD.pack(_MAGIC, len(head), len(entry.body), crc) + head + entry.body


def _unpack(data: bytes, at: int) -> tuple[Entry | None, int]:
    if at + _RECORD.size > len(data):
        return None, at
    _, head_length, body_length, crc = _RECORD.unpack_from(data, at)
    start = at + _RECORD.size
    middle, end = start + head_length, start + head_length + body_length
    if end > len(data) or zlib.crc32(data[start:end]) != crc:
        return None, at
    host, incarnation, n, received_at = json.loads(data[start:middle])
    return Entry(host, incarnation, n, received_at, data[middle:end]), end
