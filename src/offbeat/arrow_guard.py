"""Hostile Arrow: what would grow far beyond its bytes when it is read is refused before it is.

An Arrow stream has several ways to hold little and mean much: compressed buffers, columns of nulls of any length,
dictionaries and views that say one long value again and again, run ends. Honest senders of telemetry need none of
them, since the frame around the stream is compressed as a whole.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ROWS = 1 << 20
"""Rows of one table; an honest one reaches the limit of bytes first, a column of bits or nulls would not."""
_RECORD_BATCH, _DICTIONARY_BATCH = "record batch", "dictionary"
# Numbers of fields in the tables of Arrow's Message.fbs (format version 5).
_MESSAGE_HEADER, _BATCH_LENGTH, _BATCH_COMPRESSION, _DICTIONARY_DATA = 2, 0, 3, 1


class InflatedError(ValueError):
    """A stream that means much more than it holds; the message says how."""


def check_stream(plain: pa.Buffer | bytes, start: int) -> None:
    """Look through the stream that begins at *start* of *plain*, copying nothing.

    Args:
        plain: One or more Arrow IPC streams, one after the other.
        start: Byte at which the stream begins.

    Raises:
        InflatedError: It holds compressed buffers, or more rows than `MAX_ROWS`.
        pa.ArrowException: It is no stream.
    """
    source = pa.BufferReader(plain)
    source.seek(start)
    rows = 0
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.type not in {_RECORD_BATCH, _DICTIONARY_BATCH}:
            continue
        batch = _Table.root(message.metadata.to_pybytes()).table(_MESSAGE_HEADER)
        if message.type == _DICTIONARY_BATCH:
            batch = batch.table(_DICTIONARY_DATA)
        if batch.has(_BATCH_COMPRESSION):
            raise InflatedError("buffers are compressed inside the stream; the frame around it is, and that is enough")
        rows += batch.long(_BATCH_LENGTH)
        if not 0 <= rows <= MAX_ROWS:
            raise InflatedError(f"a stream of more than {MAX_ROWS} rows")


def check_columns(data: pa.Table, wanted: Mapping[str, pa.DataType], limit: int) -> None:
    """Look at how columns are stored that are to become others.

    Args:
        data: What was read.
        wanted: Types by name of the columns that will be kept.
        limit: Bytes that a column may become.

    Raises:
        InflatedError: A column is stored in a way that may grow without end; names the column.
    """
    for name in data.column_names:
        column = data.column(name) if data.column_names.count(name) == 1 else None
        if column is None:
            raise InflatedError(f"column {name!r} appears twice")
        if name not in wanted or column.type == wanted[name]:
            continue
        if kinds.is_dictionary(column.type):
            _check_dictionary(name, column, limit)
        elif not _is_plain(column.type):
            raise InflatedError(f"{name}: {column.type} is not taken in the place of {wanted[name]}")


def _is_plain(kind: pa.DataType) -> bool:
    if kinds.is_list(kind):
        # The rows bound no items: a list of bits or nulls would grow thirtyfold, or without end.
        return _is_word(kind.value_type) or kinds.is_integer(kind.value_type)
    return bool(_is_word(kind) or kinds.is_primitive(kind) or kinds.is_null(kind))


def _is_word(kind: pa.DataType) -> bool:
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _check_dictionary(name: str, column: pa.ChunkedArray, limit: int) -> None:
    values = column.type.value_type
    if not _is_word(values):
        raise InflatedError(f"{name}: a dictionary of {values} is not taken")
    for chunk in column.chunks:
        longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
        if longest * len(chunk) > limit:
            raise InflatedError(f"{name}: {len(chunk)} rows of values of up to {longest} bytes")


class _Table:
    """A table of a flatbuffer that Arrow has verified: a signed offset to its field offsets, then its fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def has(self, field: int) -> bool:
        return self._offset(field) > 0

    def long(self, field: int) -> int:
        offset = self._offset(field)
        return int(struct.unpack_from("<q", self._data, self._at + offset)[0]) if offset else 0

    def table(self, field: int) -> _Table:
        at = self._at + self._offset(field)
        return _Table(self._data, at + struct.unpack_from("<I", self._data, at)[0])

    def _offset(self, field: int) -> int:
        fields = self._at - struct.unpack_from("<i", self._data, self._at)[0]
        size = struct.unpack_from("<H", self._data, fields)[0]
        place = 4 + 2 * field
        return int(struct.unpack_from("<H", self._data, fields + place)[0]) if place < size else 0
