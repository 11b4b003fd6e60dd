"""The engine as a whole: tables of a job in, findings out."""

from __future__ import annotations

import pytest

from offbeat.model import FaultClass, Link


def classes(findings):
    return [f.fault for f in findings]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_healthy_job_gives_no_finding(bench, seed):
    """A job that keeps its beat for a minute is left alone, whatever its noise."""
    assert bench(seed=seed).run(45) == []


def test_beat_is_learned(bench):
    """Four operations an iteration of about 70 ms are seen as the job's beat."""
    job = bench()
    (view,) = job.engine.jobs(job.job.now)
    assert view.state == "running"
    assert view.iteration_ns == pytest.approx(70e6, rel=0.1)
    assert view.world == 8


@pytest.mark.parametrize(("rank", "factor"), [(3, 1.5), (0, 2.0), (7, 1.15)])
def test_slow_rank_is_named_within_ten_seconds(bench, rank, factor):
    """A rank whose computation takes longer is named, alone, and the finding ends when it is well again."""
    job = bench()
    job.job.slow = {rank: factor}
    (finding,) = job.run(10)
    assert finding.fault is FaultClass.SLOW_COMPUTE
    assert finding.culprits.ranks == (rank,)
    assert rank not in finding.victims
    job.job.slow = {}
    (ended,) = job.run(8)
    assert (ended.id, ended.ended_at is not None) == (finding.id, True)


def test_two_slow_ranks_are_two_findings(bench):
    """Two independent slow ranks are both named, the weaker one too."""
    job = bench()
    job.job.slow = {3: 1.2, 5: 1.6}
    assert sorted(f.culprits.ranks for f in job.run(10)) == [(3,), (5,)]


def test_slow_host_is_named_where_all_its_ranks_are_slow(bench):
    """When both ranks of a host are slow, one finding names the host."""
    job = bench(per_host=2)
    job.job.slow = {2: 1.5, 3: 1.5}
    (finding,) = job.run(10)
    assert finding.culprits.hosts == ("h1",)
    assert finding.culprits.ranks == (2, 3)


HOT = {"rtt_us": 21_000, "busy": 0.9}


@pytest.mark.parametrize(
    ("sender", "edges", "fault", "host"),
    [
        (3, {3: HOT, 4: HOT}, FaultClass.SLOW_SEND, "h3"),
        (4, {3: HOT, 4: HOT}, FaultClass.SLOW_RECEIVE, "h3"),
    ],
)
def test_side_of_a_slow_host_is_told_by_who_leaves_last(bench, sender, edges, fault, host):
    """Egress and ingress delay show the same two round trips; the last to leave tells them apart."""
    job = bench()
    job.job.slow_edge, job.job.edges.hot = (sender, 20.0), edges
    (finding,) = job.run(10)
    assert (finding.fault, finding.culprits.hosts) == (fault, (host,))


@pytest.mark.parametrize(("sender", "fault"), [(3, FaultClass.SLOW_SEND), (4, FaultClass.SLOW_RECEIVE)])
def test_side_is_told_though_somebody_else_leaves_later(bench, sender, fault):
    """A member that its scheduler holds up does not decide which side of another host is slow."""
    job = bench()
    job.job.slow_edge, job.job.edges.hot, job.job.held_up = (sender, 20.0), {3: HOT, 4: HOT}, {7: 40.0}
    (finding,) = job.run(10)
    assert (finding.fault, finding.culprits.hosts) == (fault, ("h3",))


def test_single_slow_path_is_named_as_link(bench):
    """One slow path accuses the path, not the hosts at its ends."""
    job = bench()
    job.job.slow_edge, job.job.edges.hot = (3, 20.0), {3: HOT}
    (finding,) = job.run(10)
    assert finding.fault is FaultClass.SLOW_LINK
    assert finding.culprits.links == (Link(3, None, "h3", "h2"),)
    assert finding.culprits.hosts == ()


def test_slow_transfers_without_a_slow_connection_accuse_nobody(bench):
    """When transfers take longer and no connection shows it, the finding has no culprit and says what is missing."""
    job = bench()
    job.job.slow_edge = (3, 60.0)
    (finding,) = job.run(20)
    assert finding.fault is FaultClass.SLOW_UNIFORM
    assert (finding.culprits.ranks, finding.culprits.hosts, finding.culprits.links) == ((), (), ())
    assert job.engine.abstained


def test_rank_that_stops_before_a_collective_is_named(bench):
    """The rank that others wait for is named within five seconds."""
    job = bench()
    job.job.stopped = {3: 1}
    (finding,) = job.run(5)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.HANG_NOT_ENTERED, (3,))


def test_several_roots_of_one_hang_are_all_named(bench):
    """Two ranks that both never came are both culprits of the one hang."""
    job = bench()
    job.job.stopped = {2: 1, 6: 1}
    (finding,) = job.run(5)
    assert finding.culprits.ranks == (2, 6)


def test_rank_in_another_collective_is_a_mismatch(bench):
    """A rank that left out a collective is named at once by what it entered instead."""
    job = bench()
    job.job.skip = 6
    (finding,) = job.run(3)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.HANG_MISMATCH, (6,))
    assert "all_reduce" in finding.summary


def test_lateness_strides_show_the_late_rank(bench):
    """The picture of ranks by time has the slow rank as the latest."""
    job = bench()
    job.engine.stretches()
    job.job.slow = {3: 1.5}
    job.run(8)
    stretch = job.engine.stretches()[-1]
    assert int(stretch.lateness.argmax()) == 3
    assert stretch.lateness[3] == pytest.approx(15e6, rel=0.4)
