"""Which shard sees what."""

import pyarrow as pa
from batches import gauges, values
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.store.shards import Router, shard_of


def both(*jobs):
    """Return gauges of several jobs, the value of each being its place."""
    tables = [gauges([float(n)], job=job)["gauges"] for n, job in enumerate(jobs)]
    return {"gauges": pa.concat_tables(tables)}


def test_the_shard_of_a_job_never_changes():
    """Replicas and workers of any version agree; another number would split a job during an upgrade."""
    assert [shard_of(job, 8) for job in ("train", "j", "", "ü")] == [3, 3, 0, 5]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=12), st.integers(1, 6))
def test_every_row_is_seen_by_the_shard_of_its_job(jobs, shards):
    """Rows of a job go to its shard alone; rows of none go to every shard that sees the batch."""
    seen = {shard: values(part["gauges"]) for shard, part in Router(shards).split("node1", both(*jobs))}
    for place, job in enumerate(jobs):
        found = {shard for shard, numbers in seen.items() if float(place) in numbers}
        assert found == (set(seen) if job is None else {shard_of(job, shards)})


def test_a_batch_of_no_job_follows_the_host():
    """What a host says of itself goes where its jobs are, also in a batch that names none."""
    router = Router(8)
    assert len(list(router.split("node1", both(None)))) == 1
    assert {shard for shard, _ in router.split("node1", both("train", "ü"))} == {3, 5}
    assert {shard for shard, _ in router.split("node1", both(None))} == {3, 5}
