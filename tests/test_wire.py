"""Batches on the wire: what is sent is what is read, and nothing hostile gets further than an error."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat import records, wire

TABLES = {
    "samples": records.build("samples", {"at": [1], "rank": [3], "kind": ["data"], "where": ["x"], "n": [2]}),
    "steps": records.build("steps", {"rank": [1, 2], "step": [5, 5], "at": [9, 9], "loss": [0.5, None]}),
}


def compress(*streams):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        for data in streams:
            with pa.ipc.new_stream(out, data.schema) as writer:
                writer.write_table(data)
    return bytes(sink.getvalue())


def test_tables_come_back_as_they_were():
    """Several tables in one frame are read back equal, and nothing was left out."""
    tables, ignored = wire.decode(wire.encode(TABLES))
    assert (tables, ignored) == (TABLES, 0)


def test_unknown_tables_and_columns_are_counted():
    """What a later version added is left out and counted."""
    later = pa.table({"x": [1]}).replace_schema_metadata({"table": "rumours"})
    wider = TABLES["samples"].append_column("colour", pa.array(["red"]))
    tables, ignored = wire.decode(compress(later, wider))
    assert (set(tables), ignored) == ({"samples"}, 2)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"hello", "not a zstd frame"),
        (compress(pa.table({"x": [1]})), "names no table"),
        (compress(TABLES["steps"], TABLES["steps"]), "'steps' appears twice"),
        (compress(TABLES["steps"].drop_columns(["at"])), r"steps\.at: column is missing"),
    ],
)
def test_bad_batches_say_what_is_wrong(body, says):
    """The error says what is wrong with the batch."""
    with pytest.raises(wire.WireError, match=says):
        wire.decode(body)


def test_body_above_its_limit_is_not_read():
    """A body that is too large is refused by its length."""
    with pytest.raises(wire.TooLargeError):
        wire.decode(b"x" * 11, max_body=10)


def test_bomb_is_stopped_while_it_expands():
    """A small body that expands without end is refused before it fills the memory."""
    zeros = pa.table({"x": pa.array([0] * 1_000_000)}).replace_schema_metadata({"table": "steps"})
    body = compress(zeros)
    assert len(body) < 100_000
    with pytest.raises(wire.TooLargeError, match="expands"):
        wire.decode(body, max_plain=1 << 20)


@given(st.data())
def test_damaged_batches_never_do_more_than_fail(data):
    """A batch cut short or with a byte changed is read or refused, and raises nothing else."""
    body = bytearray(wire.encode(TABLES))
    place = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        body[place] ^= data.draw(st.integers(1, 255))
    else:
        del body[place:]
    try:
        wire.decode(bytes(body))
    except wire.WireError:
        return
