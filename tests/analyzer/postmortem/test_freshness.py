"""Dumps of different moments, running jobs, and operations that everybody entered."""

from __future__ import annotations

import os

from support_fr import START_NS, Group, Job

from offbeat.analyzer.diagnose import diagnose


def answer(folder):
    document = diagnose([folder])
    return sorted((str(f.fault), f.culprits.ranks) for f in document.findings), document


def running(job, calls=6):
    for _ in range(calls):
        job.call()
    return job


def written(folder, at_ns):
    """Make it look as if the files in *folder* were written at *at_ns*."""
    for file in folder.iterdir():
        os.utime(file, ns=(at_ns, at_ns))
    return folder


def test_a_job_that_ended_well_is_healthy(tmp_path):
    """Nothing is open, so nobody waits."""
    found, document = answer(running(Job(4)).write(tmp_path))
    assert found == []
    assert document.exit_code == 0
    assert document.abstained == []


def test_completed_but_not_retired_is_well(tmp_path):
    """The watchdog retires a moment after completion."""

    def keep(rank, dump):
        dump["entries"][-1]["retired"] = False

    assert answer(running(Job(4)).write(tmp_path, change=keep))[1].exit_code == 0


def test_an_operation_that_is_just_ending_is_well(tmp_path):
    """One member's dump shows it open, the others' finished, and nobody waits for that member."""
    job = running(Job(4))
    job.call(done=[0, 1, 3])
    assert answer(job.write(tmp_path))[1].exit_code == 0


def test_an_old_dump_does_not_make_its_rank_look_behind(tmp_path):
    """The others finished all-reduces that the old dump's rank had not entered: its dump was taken before."""
    job = running(Job(4))
    job.write(tmp_path, ranks=[2])
    for _ in range(20):
        job.call()
    job.write(tmp_path, ranks=[0, 1, 3])
    found, document = answer(tmp_path)
    assert found == []
    assert document.exit_code == 0
    assert any("older than the others" in warning for warning in document.warnings)


def test_an_old_dump_leaves_open_why_the_others_wait(tmp_path):
    """All others wait in one operation, and the rank of the old dump may have entered it or not."""
    job = running(Job(4))
    job.write(tmp_path, ranks=[2])
    for _ in range(20):
        job.call()
    job.call(ranks=[0, 1, 3], done=False)
    job.write(tmp_path, ranks=[0, 1, 3])
    found, document = answer(tmp_path)
    assert found == []
    assert document.exit_code == 3
    assert "rank 2" in document.abstained[0].why


def test_dumps_taken_one_after_the_other_from_a_running_job_are_well(tmp_path):
    """Each rank is a few operations further than the one dumped before it; the last ones have some open."""
    job = Job(4)
    for rank in range(4):
        for _ in range(3):
            job.call()
        job.call(ranks=[rank], done=False)
        job.write(tmp_path, ranks=[rank])
        job.seqs[rank, "0"] -= 1
        job.entries[rank].pop()
    found, document = answer(tmp_path)
    assert found == []
    assert document.exit_code == 0


def everybody_in(folder):
    job = running(Job(4))
    job.call(done=False)
    return job, job.write(folder)


def test_everybody_entered_long_ago_is_a_hang_in_transport(tmp_path):
    """All entered, none finished, and the files were written long after: who stands still cannot be told."""
    job, folder = everybody_in(tmp_path)
    found, document = answer(written(folder, job.now + 60_000_000_000))
    assert found == [("hang.in_transport", ())]
    assert any("transfers" in item.why for item in document.abstained)
    assert document.exit_code == 1


def test_everybody_just_entered_is_a_running_job(tmp_path):
    """The files were written a moment after: the job runs."""
    job, folder = everybody_in(tmp_path)
    assert answer(written(folder, job.now + 200_000_000))[1].exit_code == 0


def test_everybody_entered_at_an_unknown_age_is_not_guessed_at(tmp_path):
    """Copied files do not tell when they were dumped, and dumps never do."""
    job, folder = everybody_in(tmp_path)
    found, document = answer(written(folder, job.now + 30 * 86_400_000_000_000))
    assert found == []
    assert document.exit_code == 3
    assert "do not say when they were taken" in document.abstained[0].why


def test_the_dumps_own_times_tell_an_age_too(tmp_path):
    """Another group went on for half a minute after everybody had entered: that is no running job."""
    job = running(Job(4, [Group("1", "PAIR", [0, 1])]))
    job.call(done=False)
    job.now += 30_000_000_000
    job.call("PAIR")
    folder = written(job.write(tmp_path), START_NS + 30 * 86_400_000_000_000)
    assert answer(folder)[0] == [("hang.in_transport", ())]


def test_a_broadcast_that_others_finished_makes_no_dump_old(tmp_path):
    """They go ahead of a rank that stopped, and a dump of unfinished calls does not say what the finished were."""
    job = Job(4)
    for _ in range(4):
        job.call()
    job.call(op="broadcast", ranks=[0, 1, 2], done=True)
    job.call(ranks=[0, 1, 2], done=False)
    found, document = answer(job.write(tmp_path, only_active=True))
    assert found == [("hang.not_entered", (3,))]
    assert not any("older" in warning for warning in document.warnings)


def test_a_dump_of_an_earlier_run_is_none(tmp_path):
    """A killed rank left nothing, but a file of the run before still lies there."""
    before = running(Job(4), 2)
    before.now -= 3_600_000_000_000
    for entry in before.entries[3]:
        for key in ("time_created_ns", "time_discovered_completed_ns"):
            entry[key] -= 3_600_000_000_000
    before.write(tmp_path, ranks=[3])
    job = running(Job(4))
    job.call(ranks=[0, 1, 2], done=False)
    job.write(tmp_path, ranks=[0, 1, 2])
    found, document = answer(tmp_path)
    assert found == [("hang.not_entered", (3,))]
    assert document.findings[0].confidence < 0.7
    assert any("older" in warning for warning in document.warnings)


def test_dumps_that_say_nothing_are_no_health(tmp_path):
    """The recorder was off."""
    for rank in range(3):
        (tmp_path / f"rank{rank}").write_text('{"version": "2.10", "pg_config": {}, "pg_status": {}, "entries": []}')
    assert answer(tmp_path)[1].exit_code == 3
