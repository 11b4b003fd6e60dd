"""The life of an incident in words, and how often findings were right."""

import time
from dataclasses import replace

from findings import SECOND, finding

from offbeat.model import Culprits, Evidence, Severity

API = "/api/v1"


def steps(client, id_):
    """Return the history of an incident: kind and text."""
    return [(step["kind"], step["text"]) for step in client.get(f"{API}/incidents/{id_}/history").json()["items"]]


def test_a_life_is_told_from_its_opening_to_the_judgement(service, operator):
    """Opened, what changed in words, who acknowledged, who resolved and why, who judged."""
    now = time.time_ns() - 60 * SECOND
    first = finding(at=now)
    id_ = service.store.incidents.apply(first, now).id
    worse = replace(
        first,
        severity=Severity.CRITICAL,
        culprits=Culprits(ranks=(5, 6), hosts=("node1",)),
        evidence=(*first.evidence, Evidence("stack", "in forward", {})),
        confidence=0.6,
    )
    service.store.incidents.apply(worse, now + SECOND)
    service.store.incidents.apply(replace(worse, slowdown=1.521), now + 2 * SECOND)
    operator.post(f"{API}/incidents/{id_}/acknowledge", json={})
    operator.post(f"{API}/incidents/{id_}/resolve", json={"why": "new fan"})
    operator.post(f"{API}/incidents/{id_}/feedback", json={"right": True, "note": "it was the fan"})
    changed = "severity warning → critical; culprits rank 5, host node1 → ranks 5, 6, host node1; "
    changed += "more evidence: stack; confidence 97% → 60%"
    assert steps(operator, id_) == [
        ("opened", "opened as warning: rank 5, host node1"),
        ("changed", changed),
        ("acknowledged", "acknowledged"),
        ("resolved", "resolved: new fan"),
        ("feedback", "the finding was right: it was the fan"),
    ]
    told = operator.get(f"{API}/incidents/{id_}/history").json()["items"]
    assert told[0]["who"] is None
    assert len({step["who"] for step in told[2:]}) == 1
    assert told == sorted(told, key=lambda step: step["at"])


def test_a_life_whose_changes_are_forgotten_still_begins(service, viewer):
    """Changes are kept for a time only; when the incident opened it knows itself."""
    id_ = service.store.incidents.apply(finding(), 5).id
    service.store.incidents.expire(2**62)
    assert steps(viewer, id_) == [("opened", "opened: rank 5, host node1")]
    assert viewer.get(f"{API}/incidents/none/history").status_code == 404


def test_accuracy_is_told_by_class(service, operator):
    """Right and wrong of each class that somebody judged."""
    assert operator.get(f"{API}/accuracy").json()["items"] == []
    for n, right in enumerate((True, True, False)):
        id_ = service.store.incidents.apply(finding(f"f{n}"), time.time_ns()).id
        operator.post(f"{API}/incidents/{id_}/feedback", json={"right": right})
    assert operator.get(f"{API}/accuracy").json()["items"] == [{"class": "slow.compute", "right": 2, "wrong": 1}]
