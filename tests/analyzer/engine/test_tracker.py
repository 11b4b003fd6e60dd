"""Persistence: what makes a suspicion a finding, and what ends one."""

from __future__ import annotations

import dataclasses

from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.analyzer.engine.tracker import Tracker
from offbeat.model import Action, Advice, Culprits, FaultClass, Severity

SECOND = 1_000_000_000
LATE = Suspicion(
    key="slow:3",
    fault=FaultClass.SLOW_COMPUTE,
    severity=Severity.WARNING,
    summary="rank 3 is slow",
    advice=Advice(Action.INSPECT, "it is"),
    culprits=Culprits(ranks=(3,)),
    hold_ns=2 * SECOND,
    clear_ns=2 * SECOND,
)


def test_suspicion_must_hold_unbroken():
    """A suspicion that goes away for one look begins anew."""
    tracker = Tracker("j", 0)
    assert tracker.update([LATE], 0) == []
    assert tracker.update([], SECOND) == []
    assert tracker.update([LATE], 2 * SECOND) == []
    (finding,) = tracker.update([LATE], 4 * SECOND)
    assert finding.detected_at == 4 * SECOND


def test_finding_outlives_a_short_absence_and_is_told_once():
    """A finding is told when it opens and when it ends, not at every look between."""
    tracker = Tracker("j", 0)
    tracker.update([LATE], 0)
    (opened,) = tracker.update([LATE], 2 * SECOND)
    assert tracker.update([], 3 * SECOND) == []
    assert tracker.update([LATE], 4 * SECOND) == []
    (ended,) = tracker.update([], 7 * SECOND)
    assert (ended.id, ended.ended_at) == (opened.id, 4 * SECOND)


def test_change_of_culprits_is_told():
    """A finding whose culprits change, and stay changed, is told again under the same id."""
    tracker = Tracker("j", 0)
    tracker.update([LATE], 0)
    (opened,) = tracker.update([LATE], 2 * SECOND)
    others = dataclasses.replace(LATE, culprits=Culprits(ranks=(3, 4)))
    assert tracker.update([others], 3 * SECOND) == []
    (changed,) = tracker.update([others], 6 * SECOND)
    assert (changed.id, changed.culprits.ranks) == (opened.id, (3, 4))


def test_return_of_a_cause_is_a_new_finding():
    """The same cause after its end is found anew, under another id."""
    tracker = Tracker("j", 0)
    tracker.update([LATE], 0)
    (first,) = tracker.update([LATE], 2 * SECOND)
    tracker.update([], 9 * SECOND)
    tracker.update([LATE], 10 * SECOND)
    (second,) = tracker.update([LATE], 12 * SECOND)
    assert second.id != first.id


def test_sticky_finding_ends_with_its_attempt_only():
    """What stays true of an attempt does not end by silence."""
    tracker = Tracker("j", 0)
    (finding,) = tracker.update([dataclasses.replace(LATE, hold_ns=0, sticky=True)], 0)
    assert tracker.update([], 100 * SECOND) == []
    assert [f.id for f in tracker.end_all(101 * SECOND)] == [finding.id]
