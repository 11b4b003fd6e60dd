"""The registry of record fields: what fits it, and what is said of what does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from offbeat import records
from offbeat.records import RecordError

SAMPLE = {"at": [1], "rank": [3], "kind": ["data"], "where": ["train.py:5 main"], "n": [2]}


@pytest.mark.parametrize("table", records.TABLES)
def test_every_table_says_what_it_is(table):
    """A schema names its table, begins with job and attempt, and gives every field a meaning."""
    schema = records.schema(table)
    assert schema.metadata == {b"table": table.encode()}
    assert schema.names[:2] == ["job", "attempt"]
    assert all(field.meaning for field in records.fields(table))
    assert len(set(schema.names)) == len(schema.names)


def test_build_fills_in_what_is_absent():
    """Lists, numpy arrays and Arrow arrays become columns of the right type; what is not given is null."""
    table = records.build("samples", SAMPLE | {"n": np.array([2], np.int32), "kind": pa.array(["data"])})
    assert table.schema.equals(records.schema("samples"), check_metadata=True)
    assert table.to_pylist() == [{"job": None, "attempt": None} | {k: v[0] for k, v in SAMPLE.items()}]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"n": ["many"]}, "samples.n: "),
        ({"rank": [1 << 40]}, "samples.rank: "),
        ({"where": [None]}, "samples.where: 1 values are null"),
        ({"n": [1, 2]}, "samples: columns of different lengths"),
        ({"colour": ["red"]}, "samples: unknown columns ['colour']"),
    ],
)
def test_build_names_the_field_that_does_not_fit(columns, says):
    """An error names table and field, so that whoever sent it can mend it."""
    with pytest.raises(RecordError) as error:
        records.build("samples", SAMPLE | columns)
    assert str(error.value).startswith(says)


def test_build_wants_required_columns():
    """Rows without a required column are refused; no rows want nothing."""
    with pytest.raises(RecordError, match=r"samples\.at: column is missing"):
        records.build("samples", {k: v for k, v in SAMPLE.items() if k != "at"})
    assert records.build("samples", {}).num_rows == 0


def test_conform_drops_and_names_unknown_columns():
    """A field of a later version is left out and counted, not refused."""
    table, unknown = records.conform("samples", pa.table(SAMPLE | {"colour": ["red"]}))
    assert unknown == ["colour"]
    assert table.schema.equals(records.schema("samples"))


def test_unknown_table_is_an_error():
    """There are no tables but those of the registry."""
    with pytest.raises(RecordError, match="unknown table 'rumours'"):
        records.schema("rumours")
