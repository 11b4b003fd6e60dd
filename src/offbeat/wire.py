"""Tables on the wire: Arrow IPC streams, one a table, in one zstd frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from offbeat.arrow_guard import InflatedError, check_columns, check_stream
from offbeat.records import TABLES, RecordError, conform, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY = 8 << 20
"""Bytes of one batch before decompression; without it one request can fill the service's memory."""
MAX_PLAIN = 64 << 20
"""Bytes of one batch after decompression; without it a small body can expand without end."""
_CHUNK = 1 << 20
_ZSTD = pa.Codec("zstd", compression_level=3)
"""A tenth smaller than Arrow's own level 1 on batches of an agent, at the same cost."""


class WireError(ValueError):
    """A batch that cannot be read; the message says what is wrong with it."""


class TooLargeError(WireError):
    """A batch above the size limits."""


def encode(tables: Mapping[str, pa.Table]) -> bytes:
    """Return the wire form of *tables* (name → table that conforms to the registry)."""
    sink = pa.BufferOutputStream()
    for table in tables.values():
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(_ZSTD.compress(sink.getvalue(), asbytes=True))


def decode(body: bytes, *, max_body: int = MAX_BODY, max_plain: int = MAX_PLAIN) -> tuple[dict[str, pa.Table], int]:
    """Read a batch.

    Returns:
        The tables by name, fitted to the registry, and how many unknown columns or tables were left out.

    Raises:
        TooLargeError: The body, or what it expands to, is above its limit, or the tables mean much more than they hold.
        WireError: It is not zstd, not Arrow IPC, or does not fit the registry.
    """
    if len(body) > max_body:
        raise TooLargeError(f"batch of {len(body)} bytes; the limit is {max_body}")
    plain = _decompress(body, max_plain)
    source, tables, ignored = pa.BufferReader(plain), {}, 0
    while source.tell() < len(plain):
        try:
            check_stream(plain, source.tell())
            data = pa.ipc.open_stream(source).read_all()
            data.validate(full=True)
        except InflatedError as error:
            raise TooLargeError(str(error)) from None
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            # Names that are no UTF-8 and metadata that lies come as errors of Python, not of Arrow.
            raise WireError(f"not an Arrow IPC stream: {error}") from None
        name = (data.schema.metadata or {}).get(b"table", b"").decode("utf-8", "replace")
        if name not in TABLES:
            if not name:
                raise WireError("a stream names no table in its schema metadata")
            ignored += 1
            continue
        if name in tables:
            raise WireError(f"table {name!r} appears twice")
        try:
            check_columns(data, {field.name: field.type for field in schema(name)}, max_plain)
            tables[name], unknown = conform(name, data)
        except InflatedError as error:
            raise TooLargeError(f"{name}: {error}") from None
        except RecordError as error:
            raise WireError(str(error)) from None
        ignored += len(unknown)
    return tables, ignored


def _decompress(body: bytes, limit: int) -> bytes:
    plain = bytearray()
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while chunk := stream.read(_CHUNK):
                plain += chunk
                if len(plain) > limit:
                    raise TooLargeError(f"batch expands to more than {limit} bytes")
    except OSError as error:
        raise WireError(f"not a zstd frame: {error}") from None
    return bytes(plain)
