"""What is overdue in one communicator, and what its members' places say."""

from __future__ import annotations

import numpy as np
import pytest

from offbeat.analyzer.engine.comm import CommWindow, Operations
from offbeat.analyzer.engine.overdue import FLOOR_NS, SECOND, find

RANKS = tuple(range(8))


class Group:
    """A communicator of eight ranks whose operations took 10 ms so far."""

    def __init__(self):
        self.window, self.now = CommWindow("g", RANKS), 1000 * SECOND
        for seq in range(40):
            self.add(seq, RANKS, leave=self.now + SECOND // 100)
            self.now += SECOND // 50
        self.next = 40

    def add(self, seq, ranks, leave=0, seen=None):
        n = len(ranks)
        self.window.add(
            Operations(
                np.array(ranks),
                np.full(n, seq),
                np.full(n, self.now),
                np.full(n, leave),
                np.full(n, seen or self.now),
                np.zeros(n, np.int64),
            )
        )

    def find(self):
        return find(self.window, stopped=False, announced=False)


@pytest.fixture
def group():
    """A group that has made forty operations."""
    return Group()


def test_members_that_did_not_come_are_missing(group):
    """Who has not entered what the others wait in is missing."""
    group.add(40, RANKS[:6], seen=group.now + 5 * SECOND)
    found = group.find()
    assert (found.missing, found.waiting, found.bound_ns) == ((6, 7), RANKS[:6], FLOOR_NS)


def test_nothing_is_overdue_before_its_bound(group):
    """An operation younger than its learned bound is left alone."""
    group.add(40, RANKS[:6], seen=group.now + 2 * SECOND)
    assert group.find() is None


def test_member_that_launched_nothing_more_is_behind(group):
    """Of members inside one operation, the one that alone launched nothing after it has stopped launching."""
    group.add(40, RANKS, seen=group.now + 5 * SECOND)
    group.add(41, [r for r in RANKS if r != 3], seen=group.now + 5 * SECOND)
    assert group.find().behind == (3,)


def test_those_still_inside_a_tree_are_not_behind(group):
    """In a broadcast some leave early and go on; those that still wait in it are no culprits for that."""
    group.add(40, (0, 1, 6, 7), leave=group.now + SECOND // 100)
    group.add(40, (2, 3, 5), seen=group.now + 5 * SECOND)
    group.add(41, (0, 1, 6, 7), seen=group.now + 5 * SECOND)
    found = group.find()
    assert (found.missing, found.behind) == ((4,), ())
