"""Dumps of a running job are told from those of a hang by when their files were written."""

from __future__ import annotations

import os

from support_fr import MS, Job

from offbeat.analyzer.diagnose import diagnose


def snapshot(folder, after_ns):
    """Write dumps in which rank 2 has not yet come to a call; the files are *after_ns* younger than the last call."""
    job = Job(4)
    for _ in range(20):
        job.call()
    job.call(ranks=[0, 1, 3], done=False)
    job.write(folder)
    for path in folder.iterdir():
        os.utime(path, ns=(job.now + after_ns, job.now + after_ns))
    return diagnose([folder])


def test_a_rank_that_has_just_not_come_yet_is_no_culprit(tmp_path):
    """The dumps were written 20 ms after the call that it has not entered."""
    document = snapshot(tmp_path, 20 * MS)
    assert document.findings == []
    assert document.exit_code == 0
    assert any("running job" in warning for warning in document.warnings)


def test_a_rank_that_does_not_come_for_seconds_is(tmp_path):
    """The dumps were written 5 s later."""
    assert [f.culprits.ranks for f in snapshot(tmp_path, 5000 * MS).findings] == [(2,)]


def test_files_older_than_what_they_hold_tell_nothing(tmp_path):
    """Somebody set their times: the dumps alone count."""
    assert [f.culprits.ranks for f in snapshot(tmp_path, -3_600_000 * MS).findings] == [(2,)]
