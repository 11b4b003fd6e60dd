"""Segment files: what is written is read back, by job and time."""

import pyarrow as pa
import pytest
from batches import T0, gauges, values
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat import records
from offbeat.store import segments

TIME = st.none() | st.integers(T0, T0 + 20)


def write(directory, record, data):
    """Write *data* as a segment."""
    return segments.write(directory, record, data, received_at=T0, level=0)


def test_a_segment_is_read_back(tmp_path):
    """All rows, types and the table's name survive, and the catalogue entry describes them."""
    data = gauges(range(100))["gauges"]
    (part,) = write(tmp_path, "gauges", data)
    assert segments.read(tmp_path / part.path, "gauges", None).equals(data)
    assert (part.job, part.attempt, part.rows, part.from_at, part.to_at) == ("train", 1, 100, T0, T0 + 99_000_000)


def test_jobs_share_a_file_and_are_read_apart(tmp_path):
    """A file of several jobs and attempts has an entry for each; rows without a job go under an empty name."""
    nobody = gauges([7], job=None, attempt=None)["gauges"]
    data = [gauges([n], job=job, attempt=n)["gauges"] for job in ("b", "a") for n in (2, 1)]
    parts = write(tmp_path, "gauges", pa.concat_tables([*data, nobody]))
    assert sorted((part.job, part.attempt, part.rows) for part in parts) == [
        ("", 0, 1),
        ("a", 1, 1),
        ("a", 2, 1),
        ("b", 1, 1),
        ("b", 2, 1),
    ]
    assert len({part.path for part in parts}) == 1
    wanted = segments.condition("gauges", job="a", attempt=2)
    assert values(segments.read(tmp_path / parts[0].path, "gauges", wanted)) == [2.0]


def sample(kind):
    """Return some value of an Arrow type."""
    if pa.types.is_list(kind):
        return [sample(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: sample(field.type) for field in kind}
    return "x" if pa.types.is_string(kind) else True if pa.types.is_boolean(kind) else 1


@pytest.mark.parametrize("record", sorted(records.TABLES))
def test_every_table_can_be_a_segment(tmp_path, record):
    """Each table of the registry survives with its required columns alone."""
    columns = {f.name: [sample(f.type)] * 3 for f in records.fields(record) if f.required} or {"job": ["x"] * 3}
    data = records.build(record, columns)
    (part,) = write(tmp_path, record, data)
    assert segments.read(tmp_path / part.path, record, None).equals(data)


def test_an_older_files_missing_columns_are_null(tmp_path):
    """A file written before a column was added is read with nulls there."""
    (part,) = write(tmp_path, "gauges", gauges([1])["gauges"].drop_columns(["device_id"]))
    found = segments.read(tmp_path / part.path, "gauges", None)
    assert found.schema.equals(records.schema("gauges"))
    assert found.column("device_id").null_count == 1


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(TIME, TIME, TIME), min_size=1, max_size=12), since=TIME, until=TIME, file=st.booleans())
def test_rows_are_chosen_by_any_of_their_times(tmp_path_factory, rows, since, until, file):
    """A row counts if it reaches to `since` and begins before `until`, or has no time; in memory and on disk alike."""
    count = len(rows)
    data = records.build(
        "collectives",
        {
            "comm": ["c"] * count,
            "rank": list(range(count)),
            "op": ["other"] * count,
            "nbytes": [0] * count,
            "enqueued_at": pa.array([row[0] for row in rows], pa.int64()),
            "ended_at": pa.array([row[1] for row in rows], pa.int64()),
            "observed_at": pa.array([row[2] for row in rows], pa.int64()),
        },
    )
    wanted = segments.condition("collectives", since=since, until=until)
    if file:
        directory = tmp_path_factory.mktemp("segments")
        (part,) = write(directory, "collectives", data)
        found = segments.read(directory / part.path, "collectives", wanted)
    else:
        found = data if wanted is None else data.filter(wanted)

    def counts(row):
        times = [time for time in row if time is not None]
        if not times:
            return True
        return (since is None or max(times) >= since) and (until is None or min(times) < until)

    assert found.column("rank").to_pylist() == [rank for rank, row in enumerate(rows) if counts(row)]


def test_what_describes_a_job_has_no_time():
    """Ranks and communicators are found in every window: they are said once and hold."""
    assert segments.condition("ranks", since=T0, until=T0 + 1) is None
    assert segments.times_of("memberships") == []


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    """When the disk refuses, nothing half-written stays."""

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, "gauges", gauges([1])["gauges"])
    assert list(tmp_path.iterdir()) == []


def test_the_newest_time_of_a_batch():
    """It is the largest `at` of all tables; none where nothing is dated."""
    assert segments.newest(gauges([1, 2, 3])) == T0 + 2_000_000
    assert segments.newest({"ranks": records.build("ranks", {"rank": [0], "host": ["node1"]})}) is None
    assert segments.newest({}) is None
