"""Findings as values and as JSON."""

from __future__ import annotations

import json

from offbeat.model import (
    Action,
    Advice,
    Culprits,
    Device,
    Evidence,
    FaultClass,
    Finding,
    Link,
    Severity,
)

FINDING = Finding(
    id="abc",
    fault=FaultClass.SLOW_LINK,
    severity=Severity.WARNING,
    summary="the path is slow",
    advice=Advice(Action.INSPECT, "look"),
    culprits=Culprits(links=(Link(3, 2, "h3", "h2"),), devices=(Device("h3", "nic", "eth0"),)),
    victims=(0, 1),
    evidence=(Evidence("tcp", "round trip 21 ms", {"rtt_us": 21000}),),
    slowdown=1.5,
    started_at=1,
    detected_at=2,
    job="j",
    attempt=4,
)


def test_finding_survives_json():
    """What is written is read back equal."""
    assert Finding.from_dict(json.loads(json.dumps(FINDING.to_dict())), job="j", attempt=4) == FINDING


def test_culprit_lists_are_all_there():
    """Readers find every list of culprits, empty where nobody is named."""
    assert set(FINDING.to_dict()["culprits"]) == {"ranks", "hosts", "links", "devices"}
    assert FINDING.to_dict()["culprits"]["ranks"] == []


def test_end_changes_nothing_else():
    """A finding that ended is the same finding with an end."""
    assert FINDING.ended(9).to_dict() == FINDING.to_dict() | {"ended_at": 9}
