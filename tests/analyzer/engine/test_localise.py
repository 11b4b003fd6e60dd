"""The fewest parts of a network that explain what is slow and what is not."""

from __future__ import annotations

import pytest

from offbeat.analyzer.engine.job import JobState
from offbeat.analyzer.engine.localise import Sighting, explain, parts
from offbeat.model import FaultClass


@pytest.fixture
def job():
    """Sixteen ranks on eight hosts; four hosts share a leaf."""
    job = JobState("j", 0)
    for rank in range(16):
        facts = job.rank(rank)
        facts.host, facts.leaf = f"h{rank // 2}", f"leaf{rank // 8}"
    return job


EDGES = [(a, b) for a in range(16) for b in range(16) if a // 2 != b // 2]


def found(job, slow):
    """Return the parts that explain that exactly *slow* edges are slow."""
    steady = [frozenset({e}) for e in EDGES if e not in slow]
    return [v.part for v in explain(parts(job, EDGES), [Sighting(frozenset({e})) for e in slow], steady)]


def test_a_hot_cell_is_a_link(job):
    """One slow edge whose ends are well otherwise."""
    (part,) = found(job, [(3, 9)])
    assert (part.fault, [(k.src_rank, k.dst_rank) for k in part.culprits.links]) == (FaultClass.SLOW_LINK, [(3, 9)])


def test_a_hot_row_is_a_transmit_side(job):
    """All that a rank sends is slow."""
    (part,) = found(job, [e for e in EDGES if e[0] == 3])
    assert (part.fault, part.culprits.ranks, part.culprits.hosts) == (FaultClass.SLOW_SEND, (3,), ("h1",))


def test_a_hot_column_is_a_receive_side(job):
    """All that a rank receives is slow."""
    (part,) = found(job, [e for e in EDGES if e[1] == 3])
    assert (part.fault, part.culprits.ranks) == (FaultClass.SLOW_RECEIVE, (3,))


def test_all_ranks_of_a_host_are_the_host(job):
    """All that a host's ranks send is slow."""
    (part,) = found(job, [e for e in EDGES if e[0] in {4, 5}])
    assert (part.fault, part.culprits.ranks, part.culprits.hosts) == (FaultClass.SLOW_SEND, (4, 5), ("h2",))


def test_what_passes_a_leaf_is_its_switch(job):
    """All edges between two leaves are slow, none inside one."""
    (part,) = found(job, [e for e in EDGES if (e[0] < 8) != (e[1] < 8)])
    assert (part.fault, part.culprits.ranks) == (FaultClass.SLOW_FABRIC, ())
    assert part.name == "leaf leaf0 or leaf1"
    assert part.culprits.hosts == ()


def test_two_faults_are_two_parts(job):
    """A transmit side and a link elsewhere at once."""
    slow = [e for e in EDGES if e[0] == 3] + [(10, 12)]
    assert {p.fault for p in found(job, slow)} == {FaultClass.SLOW_SEND, FaultClass.SLOW_LINK}


def test_nothing_is_named_where_most_of_a_part_is_well(job):
    """Slow edges that share nothing are each a link, never a larger part that is mostly well."""
    assert {p.fault for p in found(job, [(0, 2), (5, 9), (12, 3)])} == {FaultClass.SLOW_LINK}
