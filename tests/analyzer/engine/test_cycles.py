"""Operations folded by the beat of their communicator."""

from __future__ import annotations

import numpy as np
from tests.analyzer.engine.test_family import add

from offbeat.analyzer.engine.cycles import Cycles
from offbeat.analyzer.engine.family import Family


def test_transfer_is_what_the_last_to_come_takes():
    """Whoever came last waited for nobody: its time inside, summed over the operations of a cycle."""
    family = Family(2)
    cycles = Cycles(family)
    comm = family.new()
    cycles.set_beat(comm, 2, 0)
    add(family, [(comm, 0, s, 100 * s + 1, 100 * s + 50) for s in range(4)])
    add(family, [(comm, 1, s, 100 * s + 40, 100 * s + 50) for s in range(4)])
    cycles.fold()
    rows, whole = cycles.newest_of(np.array([comm]), 2)
    assert whole.all()
    assert cycles.transfer[rows, comm].ravel().tolist() == [20, 20]


def test_what_queues_behind_the_operation_before_is_no_transfer():
    """Launched while the one before is under way, an operation moves nothing until that has ended."""
    family = Family(2)
    cycles = Cycles(family)
    comm = family.new()
    cycles.set_beat(comm, 1, 0)
    add(family, [(comm, k, 0, 1, 101) for k in range(2)] + [(comm, k, 1, 2, 151) for k in range(2)])
    cycles.fold()
    rows, _ = cycles.newest_of(np.array([comm]), 2)
    assert cycles.transfer[rows, comm].ravel().tolist() == [100, 50]


def test_each_operation_is_folded_once():
    """Folding again without anything new changes nothing."""
    family = Family(1)
    cycles = Cycles(family)
    comm = family.new()
    cycles.set_beat(comm, 1, 0)
    add(family, [(comm, 0, 0, 1, 11)])
    cycles.fold()
    cycles.fold()
    assert cycles.transfer[0, comm] == 10


def test_a_cycle_with_a_hole_is_not_whole():
    """An operation nobody heard of leaves its cycle out."""
    family = Family(1)
    cycles = Cycles(family)
    comm = family.new()
    cycles.set_beat(comm, 2, 0)
    add(family, [(comm, 0, s, 10 * s + 1, 10 * s + 2) for s in (0, 2, 3)])
    cycles.fold()
    _, whole = cycles.newest_of(np.array([comm]), 2)
    assert whole.ravel().tolist() == [False, True]
