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


def compress(*streams, **options):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        for data in streams:
            with pa.ipc.new_stream(out, data.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
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


def steps(**columns):
    """Return a `steps` table with some columns stored in other ways."""
    known = {"rank": [1, 2], "step": [5, 5], "at": [9, 9]}
    return pa.table({**known, **columns}).replace_schema_metadata({"table": "steps"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (compress(steps(), compression="zstd"), "compressed inside"),
        (compress(pa.table({"at": pa.nulls(2_000_000)}).replace_schema_metadata({"table": "steps"})), "1048576 rows"),
        (
            compress(steps(at=pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([9])))),
            r"steps: at: run_end_encoded.* is not taken in the place of int64",
        ),
        (
            compress(steps(job=pa.array(["x" * 40_000_000] * 2).dictionary_encode())),
            "steps: job: 2 rows of values of up to 40000000 bytes",
        ),
        (compress(steps(job=pa.array(["a", "b"], pa.string_view()))), "steps: job: string_view is not taken"),
        (compress(steps(job=pa.array([1, 2]).dictionary_encode())), "a dictionary of int64"),
        (compress(steps(at=pa.array([[True], [True]]))), "steps: at: list<item: bool> is not taken"),
    ],
)
def test_arrow_that_means_more_than_it_holds(body, says):
    """What would grow when Arrow reads or casts it is refused before, however few bytes it has."""
    with pytest.raises(wire.TooLargeError, match=says):
        wire.decode(body)


def test_columns_stored_in_other_ways_are_taken():
    """Dictionaries of words, narrower numbers and columns of nulls are what they stand for."""
    names = pa.array(["a", "a"]).dictionary_encode()
    tables, _ = wire.decode(compress(steps(job=names, rank=pa.array([1, 2], pa.int8()), loss=pa.nulls(2))))
    assert tables["steps"].select(["job", "rank", "loss"]).to_pylist() == [
        {"job": "a", "rank": 1, "loss": None},
        {"job": "a", "rank": 2, "loss": None},
    ]


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
