"""Jobs and their series."""

from dataclasses import replace

import numpy as np
import pytest

from offbeat.model import Action, Advice, FaultClass, Finding, Severity
from offbeat.store import Beat, JobRank, JobRow, LatenessWindow

JOB = JobRow(
    "train",
    attempt=2,
    name="llama",
    world=2,
    state="running",
    first_seen=10,
    last_seen=20,
    iteration_ns=5,
    hosts=("n1", "n2"),
    ranks=(JobRank(0, "n1", 100, 0), JobRank(1, "n2")),
)


def window(at, ranks, lateness):
    """Return a window in which own time is ten times the lateness."""
    late = np.array(lateness, np.float32)
    return LatenessWindow(at, 5, np.array(ranks, np.int32), late, late * 10)


def test_a_job_is_kept_as_last_told(store):
    """The newest description replaces the one before; only the first sighting stays the earliest."""
    assert store.jobs.get("train") is None
    store.jobs.upsert(JOB)
    assert store.jobs.get("train") == JOB
    later = replace(JOB, state="stalled", first_seen=15, last_seen=30, ranks=())
    store.jobs.upsert(later)
    assert store.jobs.get("train") == replace(later, first_seen=10)
    store.jobs.upsert(replace(later, first_seen=5))
    assert store.jobs.get("train").first_seen == 5


def test_jobs_are_listed_by_when_they_were_last_seen(store):
    """The liveliest job comes first."""
    for number, name in enumerate("abc"):
        store.jobs.upsert(JobRow(name, last_seen=number))
    assert [row.id for row in store.jobs.list()] == ["c", "b", "a"]


def test_beats_are_kept_once_and_read_by_time(store):
    """An iteration reported again is not counted twice; others' are not mixed in."""
    rows = [Beat(at, at * 2) for at in range(1, 6)]
    store.jobs.add_beats("train", 1, rows[:3])
    store.jobs.add_beats("train", 1, rows)
    store.jobs.add_beats("train", 1, [])
    store.jobs.add_beats("other", 1, [Beat(3, 99)])
    assert store.jobs.beats("train") == tuple(rows)
    assert store.jobs.beats("train", since=2, until=4) == tuple(rows[1:3])


def test_few_points_keep_the_longest_iterations(store):
    """A long series is thinned without losing its outliers."""
    store.jobs.add_beats("train", 1, [Beat(at, 900 if at == 77 else 100) for at in range(100)])
    thin = store.jobs.beats("train", points=10)
    assert len(thin) == 10
    assert Beat(77, 900) in thin


def test_lateness_is_a_matrix_over_all_ranks_seen(store):
    """Windows of different ranks line up; what a window does not know is NaN."""
    store.jobs.add_lateness("train", 1, window(10, [0, 2], [1, 3]))
    store.jobs.add_lateness("train", 2, window(20, [1, 2], [5, np.nan]))
    times, ranks, values = store.jobs.lateness("train")
    assert (times.dtype, ranks.dtype, values.dtype) == (np.int64, np.int32, np.float32)
    assert (times.tolist(), ranks.tolist()) == ([10, 20], [0, 1, 2])
    np.testing.assert_array_equal(values, [[1, np.nan, 3], [np.nan, 5, np.nan]])
    np.testing.assert_array_equal(store.jobs.lateness("train", what="own_ns")[2][0], [10, np.nan, 30])
    assert store.jobs.lateness("train", since=11, until=21)[0].tolist() == [20]


def test_a_window_told_again_replaces_the_first(store):
    """The same window is one line of the matrix, with the latest values; single windows come back whole."""
    store.jobs.add_lateness("train", 1, window(10, [0], [1]))
    store.jobs.add_lateness("train", 1, window(10, [0, 1], [2, 3]))
    np.testing.assert_array_equal(store.jobs.lateness("train")[2], [[2, 3]])
    (found,) = store.jobs.lateness_windows("train")
    assert (found.at, found.span_ns, found.ranks.tolist(), found.own_ns.tolist()) == (10, 5, [0, 1], [20, 30])


def test_no_lateness_is_an_empty_matrix(store):
    """A job without windows has a matrix of no lines and no ranks."""
    times, ranks, values = store.jobs.lateness("nobody")
    assert (times.shape, ranks.shape, values.shape) == ((0,), (0,), (0, 0))


def test_a_word_for_another_series_is_refused(store):
    """There are two series of a window and no others."""
    with pytest.raises(KeyError):
        store.jobs.lateness("train", what="job")


def test_old_series_expire(store):
    """What ended before the bound goes, the rest stays."""
    store.jobs.add_beats("train", 1, [Beat(1, 1), Beat(2, 1)])
    store.jobs.add_lateness("train", 1, window(1, [0], [1]))
    store.jobs.expire(2, lateness_before=0)
    assert store.jobs.beats("train") == (Beat(2, 1),)
    assert store.jobs.lateness("train")[0].size == 1
    store.jobs.expire(0, lateness_before=2)
    assert store.jobs.beats("train") == (Beat(2, 1),)
    assert store.jobs.lateness("train")[0].size == 0


def test_old_jobs_are_forgotten_unless_an_incident_names_them(store):
    """A job not seen for long goes, except where somebody may still ask about what happened to it."""
    finding = Finding("x", FaultClass.LOST_RANK, Severity.WARNING, "", Advice(Action.NONE, ""), job="named")
    store.incidents.apply(finding, 1)
    for name, at in (("named", 1), ("old", 1), ("new", 5)):
        store.jobs.upsert(JobRow(name, last_seen=at))
    store.jobs.expire(5, 5)
    assert {row.id for row in store.jobs.list()} == {"named", "new"}


def test_names_may_hold_anything(store):
    """What one database cannot hold is left out on both, instead of failing on one."""
    store.jobs.upsert(JobRow("job", name="a\0b\udc80", hosts=("h\0",)))
    assert (store.jobs.get("job\0").name, store.jobs.get("job").hosts) == ("ab?", ("h",))
