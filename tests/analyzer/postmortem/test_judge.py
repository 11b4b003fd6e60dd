"""Many different hangs of a simulated job: the ranks that stopped, and never an innocent."""

from __future__ import annotations

import pickle

import pytest
from support_hang import hang

from offbeat.analyzer.postmortem.judge import judge
from offbeat.analyzer.readers.flight_recorder import parse


def named(case, without=()):
    dumps = [
        parse(pickle.dumps(dump, protocol=2), path=f"rank {rank}", rank=rank)[0]
        for rank, dump in case.dumps.items()
        if rank not in without
    ]
    return {rank for finding in judge(dumps).findings for rank in finding.culprits.ranks}


@pytest.mark.parametrize("block", range(8))
def test_who_stopped_is_named_and_nobody_else(block):
    """One culprit is always found; of two, at least one, for the first may hold up the second in the same way."""
    for seed in range(block * 25, block * 25 + 25):
        case = hang(seed)
        assert case.stopped, case.description
        found = named(case)
        assert found <= case.stopped, (seed, case.description)
        assert found == case.stopped or (found and len(case.stopped) > 1), (seed, case.description)


@pytest.mark.parametrize("block", range(4))
def test_without_the_culprits_dump_nobody_else_is_named(block):
    """Who stopped often leaves nothing behind."""
    hits = 0
    for seed in range(block * 25, block * 25 + 25):
        case = hang(seed)
        found = named(case, without=case.stopped)
        assert found <= case.stopped, (seed, case.description)
        hits += found == case.stopped
    assert hits > 15
