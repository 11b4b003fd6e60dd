"""Replicas that are not equal."""

from __future__ import annotations

from offbeat.model import FaultClass
from offbeat.records import build


def digests(epoch, by_rank):
    """Return the digests of one group of replicas in one epoch."""
    n = len(by_rank)
    return build(
        "digests",
        {
            "job": ["j"] * n, "attempt": [1] * n, "epoch": [epoch] * n, "slice": ["parameters"] * n,
            "replica_group": ["dp"] * n, "rank": list(by_rank), "digest": list(by_rank.values()),
        },
    )  # fmt: skip


def test_the_minority_is_named(bench):
    """One of four replicas differs: it is named, with the epoch in which it began."""
    job = bench()
    job.tell(digests=digests(10, dict.fromkeys(range(4), "aa")))
    job.run(1)
    job.tell(digests=digests(20, {0: "bb", 1: "bb", 2: "bc", 3: "bb"}))
    (finding,) = job.run(2)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.CORRUPTION_REPLICA, (2,))
    assert "epoch 20" in finding.summary


def test_two_that_differ_accuse_nobody(bench):
    """Of two replicas neither can be said to be the right one; that they differ is told."""
    job = bench()
    job.tell(digests=digests(10, {0: "aa", 1: "ab"}))
    (finding,) = job.run(2)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.CORRUPTION_REPLICA, ())


def test_digests_that_come_one_by_one_accuse_nobody_too_early(bench):
    """The first two to report are the odd one and a right one; the verdict waits for the rest."""
    job = bench()
    job.tell(digests=digests(10, {2: "ab", 0: "aa"}))
    job.run(0.5)
    job.tell(digests=digests(10, {1: "aa", 3: "aa"}))
    (finding,) = job.run(2)
    assert finding.culprits.ranks == (2,)


def test_equal_replicas_are_no_finding(bench):
    """As long as all agree there is nothing to say, however many epochs pass."""
    job = bench()
    for epoch in range(20):
        job.tell(digests=digests(epoch, dict.fromkeys(range(8), f"{epoch:02x}")))
    assert job.run(2) == []
