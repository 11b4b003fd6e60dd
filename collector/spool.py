"""Batches in files: what the service has not yet made durable survives the agent, and the machine.

A batch is one file `<incarnation>-<n>.batch`, complete or absent: written beside its place, synced, renamed. Its
header has a checksum, so that a file which the disk damaged is put aside instead of sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

QUARANTINE_FILES = 64
"""Batches kept aside for a person to look at; without it a service that refuses everything fills the disk."""

_HEADER = struct.Struct(">4sIIH")  # magic, crc32 of host and body, length of body, length of host
_MAGIC = b"OBS1"
_NAME = re.compile(r"(\d{1,20})-(\d{1,12})\.batch")


class SpoolError(Exception):
    """The spool cannot be used at all; the message says why."""


class DamagedError(Exception):
    """A batch cannot be read back; it has been put aside."""


class Key(NamedTuple):
    """What a batch is called: the agent's start (ns) and its number, from 1 without gaps."""

    incarnation: int
    n: int

    @property
    def filename(self) -> str:
        """The name of its file; sorts like the key."""
        return f"{self.incarnation:020d}-{self.n:012d}.batch"


@dataclass(frozen=True, slots=True)
class Recovered:
    """A batch found at start: its size in bytes, and when it was written (Unix seconds)."""

    key: Key
    size: int
    written_at: float


class Spool:
    """A directory of batches of one host, held by one agent."""

    def __init__(self, directory: Path, host: str) -> None:
        """Take the directory.

        Raises:
            SpoolError: Another agent has it, or it cannot be made or written.
        """
        self._host = host.encode()
        self.directory = directory
        self._quarantine = directory / "quarantine"
        self.quarantined = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot use spool directory {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SpoolError(f"spool directory {directory} is in use by another agent") from None

    def recover(self) -> list[Recovered]:
        """Return what an earlier agent left, oldest first; what is incomplete or of another host is put aside."""
        found = []
        for path in self.directory.iterdir():
            if path.suffix == ".tmp":
                path.unlink(missing_ok=True)
                continue
            match = _NAME.fullmatch(path.name)
            if not match:
                continue
            key = Key(int(match[1]), int(match[2]))
            if path.name != key.filename:
                continue
            try:
                size = self._check(path)
                written_at = path.stat().st_mtime
            except (OSError, DamagedError):
                self._put_aside(key)
                continue
            found.append(Recovered(key, size, written_at))
        return sorted(found, key=lambda recovered: recovered.key)

    def write(self, key: Key, body: bytes) -> None:
        """Put a batch on disk; it is there, whole, when this returns.

        Raises:
            OSError: The disk is full or broken; nothing is left behind.
        """
        path = self.directory / key.filename
        temporary = path.with_suffix(".tmp")
        crc = zlib.crc32(body, zlib.crc32(self._host))
        header = _HEADER.pack(_MAGIC, crc, len(body), len(self._host)) + self._host
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _write_all(descriptor, header + body)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
            self._sync_directory()
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def load(self, key: Key) -> bytes:
        """Read a batch back.

        Raises:
            DamagedError: It is missing or not what was written; a damaged file has been put aside.
        """
        try:
            data = (self.directory / key.filename).read_bytes()
        except OSError as error:
            raise DamagedError(f"{key.filename}: {error.strerror}") from error
        if len(data) >= _HEADER.size:
            magic, crc, length, host_length = _HEADER.unpack_from(data)
            start = _HEADER.size + host_length
            if magic == _MAGIC and len(data) == start + length and zlib.crc32(data[_HEADER.size :]) == crc:
                return data[start:]
        self._put_aside(key)
        raise DamagedError(f"{key.filename}: damaged on disk")

    def delete(self, key: Key) -> None:
        """Remove a batch, if it is there."""
        with contextlib.suppress(OSError):
            (self.directory / key.filename).unlink(missing_ok=True)

    def quarantine(self, key: Key, body: bytes) -> None:
        """Keep a batch that the service refuses, for a person to look at; the oldest of those give way."""
        self.quarantined += 1
        with contextlib.suppress(OSError):
            self._quarantine.mkdir(mode=0o700, exist_ok=True)
            (self._quarantine / key.filename).write_bytes(body)
            self._trim_quarantine()

    def close(self) -> None:
        """Let another agent have the directory."""
        os.close(self._lock)

    def _check(self, path: Path) -> int:
        """Return the size of the body of a file whose header fits it."""
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise DamagedError(path.name)
            magic, _, length, host_length = _HEADER.unpack(header)
            host = file.read(host_length)
        if magic != _MAGIC or path.stat().st_size != _HEADER.size + host_length + length or host != self._host:
            raise DamagedError(path.name)
        return int(length)

    def _put_aside(self, key: Key) -> None:
        self.quarantined += 1
        with contextlib.suppress(OSError):
            self._quarantine.mkdir(mode=0o700, exist_ok=True)
            (self.directory / key.filename).rename(self._quarantine / key.filename)
            self._trim_quarantine()

    def _trim_quarantine(self) -> None:
        kept = sorted(self._quarantine.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[QUARANTINE_FILES:]:
            path.unlink(missing_ok=True)

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
