"""A slot: room for one image, in a file that trainer and keeper share.

    header   magic, version, chunk, capacity; the sequence number; the commit record
    table    CRC-32 of each chunk
    data     the image

The sequence number is odd while somebody writes. The record is wiped first and written last, holds the sequence number
it belongs to and a checksum of itself: a writer that dies halfway leaves a slot that holds nothing, never half a state.
Python can issue no fences; a processor that shows another the record before the data is found out by the checksums,
which are compared again whenever the data is used.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.recovery.memory import region
from offbeat.recovery.memory.epoch import Seal
from offbeat.recovery.memory.isal import crc32

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAGIC, VERSION = b"OFFBEATS", 1
HEADER_BYTES = 4096
_HEADER = struct.Struct("<8sIIQ")  # magic, version, chunk, capacity
_SEQUENCE, _SEQUENCE_AT = struct.Struct("<Q"), 64
# sequence, job, kind, rank, world, generation, step, nbytes, fingerprint, time, checksum of the table; then its own
_RECORD, _RECORD_AT = struct.Struct("<Q128sIiiqqQ32sqI"), 128
_CHECK = struct.Struct("<I")


class SlotError(Exception):
    """A file is no slot, or a slot does not hold what is asked for."""


class Slot:
    """One slot, mapped. The trainer writes (`begin`, then data, then `seal`); the keeper reads."""

    def __init__(self, descriptor: int, *, writable: bool = True) -> None:
        """Map the slot in an open file, which stays the caller's to close.

        Raises:
            SlotError: It is no slot.
        """
        try:
            self._file = region.attach(descriptor, writable=writable)
        except (OSError, ValueError) as error:
            raise SlotError(f"cannot be mapped: {error}") from None
        if self._file.nbytes < HEADER_BYTES:
            raise SlotError("too short for a slot")
        magic, version, self.chunk, self.capacity = _HEADER.unpack_from(self._file.data)
        if (magic, version) != (MAGIC, VERSION) or not self.chunk or self.capacity % self.chunk:
            raise SlotError("no slot, or one of another version")
        table_bytes = _table_bytes(self.capacity, self.chunk)
        if self._file.nbytes != HEADER_BYTES + table_bytes + self.capacity:
            raise SlotError("its length does not fit what it says")
        self._table = self._file[HEADER_BYTES : HEADER_BYTES + table_bytes].view("<u4")
        self.data: NDArray[np.uint8] = self._file[HEADER_BYTES + table_bytes :]

    @property
    def sequence(self) -> int:
        """How often it was begun and sealed; odd while it is being written."""
        return int(_SEQUENCE.unpack_from(self._file.data, _SEQUENCE_AT)[0])

    def begin(self) -> None:
        """Void what it holds, before anything is written into it."""
        sequence = self.sequence | 1
        _SEQUENCE.pack_into(self._file.data, _SEQUENCE_AT, sequence)
        self._file[_RECORD_AT : _RECORD_AT + _RECORD.size + _CHECK.size] = 0

    def seal(self, seal: Seal, checksums: NDArray[np.uint32]) -> None:
        """Declare the image whole.

        Args:
            seal: What it is; the checksum of the table and the time are filled in here.
            checksums: CRC-32 of each chunk of its data, the last of what is there.
        """
        count = self.chunks(seal.nbytes)
        assert len(checksums) == count
        assert self.sequence & 1, "begin() comes first"
        self._table[:count] = checksums
        sequence = self.sequence + 1
        record = _RECORD.pack(
            sequence, seal.job.encode(), seal.kind, seal.rank, seal.world, seal.generation, seal.step, seal.nbytes,
            bytes.fromhex(seal.fingerprint), time.time_ns(), crc32(self._table[:count].view(np.uint8)),
        )  # fmt: skip
        check = crc32(np.frombuffer(record, np.uint8))
        self._file.data[_RECORD_AT : _RECORD_AT + _RECORD.size + _CHECK.size] = record + _CHECK.pack(check)
        _SEQUENCE.pack_into(self._file.data, _SEQUENCE_AT, sequence)

    def read(self) -> Seal | None:
        """Return the seal of what it holds; None where it holds nothing whole."""
        sequence = self.sequence
        text = bytes(self._file[_RECORD_AT : _RECORD_AT + _RECORD.size + _CHECK.size])
        record, (check,) = text[: _RECORD.size], _CHECK.unpack_from(text, _RECORD.size)
        fields = _RECORD.unpack(record)
        if sequence & 1 or fields[0] != sequence or check != crc32(np.frombuffer(record, np.uint8)):
            return None
        _, job, kind, rank, world, generation, step, nbytes, fingerprint, sealed_at, table = fields
        if nbytes > self.capacity:
            return None
        name = job.rstrip(b"\0").decode(errors="replace")
        return Seal(name, kind, rank, world, generation, step, nbytes, fingerprint.hex(), sealed_at, table)

    def damage(self, seal: Seal) -> str:
        """Compare all checksums; return in words what is wrong, empty where nothing is."""
        table = self.checksums(seal)
        if table is None:
            return "the table of checksums is damaged"
        for index in range(len(table)):
            if crc32(self.part(seal, index)) != table[index]:
                return f"chunk {index} of {len(table)} is damaged"
        return "" if self.read() == seal else "it was overwritten meanwhile"

    def checksums(self, seal: Seal) -> NDArray[np.uint32] | None:
        """Return the checksum of each chunk, or None where the table is not the one that was sealed."""
        table = self._table[: self.chunks(seal.nbytes)].copy()
        return table if crc32(table.view(np.uint8)) == seal.table else None

    def part(self, seal: Seal, index: int) -> NDArray[np.uint8]:
        """Return chunk *index* of the image, the last one shorter."""
        return self.data[index * self.chunk : min((index + 1) * self.chunk, seal.nbytes)]

    def chunks(self, nbytes: int) -> int:
        """Return how many chunks so many bytes take."""
        return -(-nbytes // int(self.chunk))


def file_bytes(nbytes: int, chunk: int) -> int:
    """Return how long the file of a slot for images of *nbytes* is."""
    capacity = -(-nbytes // chunk) * chunk
    return HEADER_BYTES + _table_bytes(capacity, chunk) + capacity


def create(path: Path, nbytes: int, chunk: int) -> None:
    """Make an empty slot for images of up to *nbytes*.

    Raises:
        OSError: Shared memory is full, or there is one of this name.
    """
    capacity = -(-nbytes // chunk) * chunk
    region.create(path, file_bytes(nbytes, chunk), _HEADER.pack(MAGIC, VERSION, chunk, capacity))


def checksums(image: Any, chunk: int) -> NDArray[np.uint32]:
    """Return the CRC-32 of each chunk of *image*."""
    parts = range(0, image.nbytes, chunk)
    return np.array([crc32(image[at : at + chunk]) for at in parts], np.uint32)


def open_slot(path: Path, *, writable: bool = True) -> tuple[int, Slot]:
    """Open the slot at *path*; return the descriptor, which is the caller's to close, and the slot.

    Raises:
        SlotError: It is none.
        OSError: It cannot be opened.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        return descriptor, Slot(descriptor, writable=writable)
    except SlotError:
        os.close(descriptor)
        raise


def _table_bytes(capacity: int, chunk: int) -> int:
    return -(-(capacity // chunk) * 4 // HEADER_BYTES) * HEADER_BYTES
