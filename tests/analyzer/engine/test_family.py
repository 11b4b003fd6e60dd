"""The windows of all communicators of one size, side by side."""

from __future__ import annotations

import numpy as np

from offbeat.analyzer.engine.family import Family, Places


def add(family, operations):
    """Add (communicator, column, seq, enter, leave) operations."""
    comm, column, seq, enter, leave = (np.array(c, np.int64) for c in zip(*operations, strict=True))
    return family.add(Places(comm, column, seq), enter, leave, enter, np.zeros(len(seq), np.int64))


def test_an_operation_is_complete_when_all_members_have_left():
    """Open members keep it open, and the last end completes it."""
    family = Family(2)
    comm = family.new()
    add(family, [(comm, 0, 0, 10, 20), (comm, 1, 0, 12, 0)])
    assert family.waiting().tolist() == [True]
    assert not family.complete().any()
    new, ended = add(family, [(comm, 1, 0, 12, 21)])
    assert (new.tolist(), ended.tolist()) == ([False], [True])
    assert family.complete().sum() == 1
    assert family.waiting().tolist() == [False]


def test_an_end_is_final():
    """A late copy of the open row neither undoes the end nor counts again."""
    family = Family(1)
    comm = family.new()
    add(family, [(comm, 0, 0, 10, 20)])
    new, ended = add(family, [(comm, 0, 0, 10, 0)])
    assert not new.any()
    assert not ended.any()
    assert family.leave[0, comm, 0] == 20


def test_growing_keeps_what_is_held():
    """More communicators come, and the windows of the first ones stay as they were."""
    family = Family(2)
    first = family.new()
    add(family, [(first, k, seq, 10 * seq + 1, 10 * seq + 5) for seq in range(50) for k in range(2)])
    others = [family.new() for _ in range(40)]
    add(family, [(others[-1], 0, 7, 3, 4)])
    held = np.sort(family.seq[:, first][family.seq[:, first] >= 0])
    assert held.tolist() == list(range(50))
    assert family.entered[first].tolist() == [49, 49]
    assert family.complete()[:, first].sum() == 50


def test_old_operations_make_room():
    """Beyond the capacity the newest sequence numbers are held, and a straggler of an old one is ignored."""
    family = Family(1)
    comm = family.new()
    family.capacity = 4
    for seq in range(10):
        add(family, [(comm, 0, seq, seq + 1, seq + 2)])
    new, _ = add(family, [(comm, 0, 2, 3, 4)])
    assert not new.any()
    assert sorted(family.seq[:4, comm].tolist()) == [6, 7, 8, 9]
