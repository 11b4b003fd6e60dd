"""Files of several attempts, jobs and formats side by side."""

from __future__ import annotations

from support_fr import START_NS, Job

from offbeat.analyzer.readers.flight_files import load

HOUR_NS = 3_600_000_000_000


def written(folder, name, *, at=START_NS, ranks=None, world=4):
    """Write a hung job's dumps that begin at *at*."""
    job = Job(world)
    job.now = at
    for _ in range(5):
        job.call()
    job.call(ranks=range(1, world), done=False)
    job.write(folder, name=name, ranks=ranks)
    return job


def loaded(folder):
    """Return the sets found: label and ranks, and the warnings."""
    sets, warnings = load(sorted(folder.iterdir()))
    return [(one.label, [dump.rank for dump in one.dumps]) for one in sets], warnings


def test_an_earlier_attempt_is_left_out(tmp_path):
    """Its dumps end before the others begin, whichever are more."""
    written(tmp_path, "old_rank_{}", at=START_NS - HOUR_NS)
    written(tmp_path, "new_rank_{}", ranks=[0, 1, 2])
    sets, warnings = loaded(tmp_path)
    assert sets == [("", [0, 1, 2])]
    assert ["earlier run" in warning for warning in warnings] == [True]


def test_two_jobs_of_one_time_are_two(tmp_path):
    """Each is judged by itself, the larger first."""
    written(tmp_path, "a_rank_{}", world=3)
    written(tmp_path, "b_rank_{}", world=5, at=START_NS + 1_000_000)
    sets, _ = loaded(tmp_path)
    assert [ranks for _, ranks in sets] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert sets[0][0] != sets[1][0]


def test_one_dump_in_two_formats_is_one(tmp_path):
    """Pickle and JSON of the same process are twins."""
    written(tmp_path, "fr_{}.pkl")
    written(tmp_path, "fr_{}.json")
    assert loaded(tmp_path) == ([("", [0, 1, 2, 3])], [])


def test_names_that_differ_by_host_are_one_job(tmp_path):
    """Prefixes without a rank in common."""
    written(tmp_path, "hosta_rank_{}", ranks=[0, 1])
    written(tmp_path, "hostb_rank_{}", ranks=[2, 3])
    assert loaded(tmp_path) == ([("", [0, 1, 2, 3])], [])
