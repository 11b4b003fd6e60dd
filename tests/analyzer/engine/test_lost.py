"""Processes that end: who is the root, and when nobody is."""

from __future__ import annotations

from offbeat.model import FaultClass
from offbeat.records import build

MS = 1_000_000


def exits(job, *rows):
    """Return an events table of (rank, milliseconds, code, message)."""
    n = len(rows)
    return build(
        "events",
        {
            "job": ["j"] * n,
            "attempt": [1] * n,
            "at": [job.job.now + ms * MS for _, ms, *_ in rows],
            "host": [job.job.host(r) for r, *_ in rows],
            "rank": [r for r, *_ in rows],
            "kind": ["process_exit"] * n,
            "code": [c for *_, c, _ in rows],
            "message": [m for *_, m in rows],
        },
    )


RESET = "RuntimeError: [gloo] Connection reset by peer [10.0.0.3]"


def test_killed_rank_is_named_and_those_that_fail_after_it_are_victims(bench):
    """A rank ended by a signal is the root; connection errors of the others a moment later are not."""
    job = bench()
    job.tell(events=exits(job, (2, 71, 1, RESET), (3, 0, -9, None), (4, 71, 1, RESET), (5, 140, 1, RESET)))
    (finding,) = job.run(2)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.LOST_RANK, (3,))
    assert "SIGKILL" in finding.summary


def test_first_own_error_is_the_workload_s(bench):
    """A rank that raises an error of its own is named, with its words, and the advice is to fix the program."""
    job = bench()
    job.tell(events=exits(job, (1, 90, 1, RESET), (6, 0, 1, "ValueError: bad token"), (2, 95, 1, RESET)))
    (finding,) = job.run(2)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.WORKLOAD_ERROR, (6,))
    assert "bad token" in finding.summary


def test_whole_job_ended_from_outside_accuses_nobody(bench):
    """When a scheduler ends all ranks at once there is no culprit."""
    job = bench()
    job.tell(events=exits(job, *[(r, r, -15, None) for r in range(8)]))
    assert job.run(3) == []


def test_job_that_ends_well_is_no_fault(bench):
    """Ranks that exit with status 0 one after the other are the end of the job."""
    job = bench()
    job.tell(events=exits(job, *[(r, 300 * r, 0, None) for r in range(8)]))
    assert job.run(3) == []


def test_errors_that_all_blame_the_network_accuse_nobody(bench):
    """When every rank only reports that its peers are gone, nobody is named."""
    job = bench()
    job.tell(events=exits(job, *[(r, r, 1, RESET) for r in range(8)]))
    assert job.run(3) == []
