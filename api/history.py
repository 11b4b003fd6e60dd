"""The history of an incident in words: what changed when, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offbeat.faults import ACTIONS
from offbeat.model import Action
from offbeat.wording import culprits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from offbeat.store import Feedback, Incident, IncidentEvent

_WORDS = {"recovering": "recovery began", "recovered": "recovered", "resolved": "resolved"}


def steps(incident: Incident, events: Sequence[IncidentEvent], feedbacks: Sequence[Feedback]) -> list[dict[str, Any]]:
    """Return the steps of an incident's life, oldest first.

    Args:
        incident: As it is now.
        events: Its changes, oldest first; the first may be gone.
        feedbacks: What people said of it.
    """
    found = list(_of_events(events))
    if not any(step["kind"] == "opened" for step in found):
        found.append(_step(incident.opened_at, "opened", None, f"opened: {culprits(incident.finding.to_dict())}"))
    for said in feedbacks:
        verdict = "the finding was right" if said.right else "the finding was wrong"
        found.append(_step(said.at, "feedback", said.who, verdict + (f": {said.note}" if said.note else "")))
    return sorted(found, key=lambda step: step["at"])


def _of_events(events: Sequence[IncidentEvent]) -> Iterator[dict[str, Any]]:
    before: dict[str, Any] | None = None
    for event in events:
        now = event.incident
        if event.kind == "opened":
            text = f"opened as {now['severity']}: {culprits(now['finding'])}"
            yield _step(event.at, "opened", None, text)
        elif event.kind == "acknowledged":
            yield _step(event.at, "acknowledged", now["acknowledged_by"], "acknowledged")
        elif event.kind == "changed":
            told = _changes(before["finding"], now["finding"]) if before else []
            if told:  # figures that move by a little every second are no step of its life
                yield _step(event.at, "changed", None, "; ".join(told))
        else:
            who, why = now["resolved_by"], now["resolved_why"]
            text = _WORDS.get(event.kind, event.kind) + (f": {why}" if why and event.kind != "recovering" else "")
            yield _step(event.at, event.kind, who, text)
        before = now


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    told = []
    if old["severity"] != new["severity"]:
        told.append(f"severity {old['severity']} → {new['severity']}")
    if old["class"] != new["class"]:
        told.append(f"class {old['class']} → {new['class']}")
    if old["culprits"] != new["culprits"]:
        told.append(f"culprits {culprits(old)} → {culprits(new)}")
    if len(old["victims"]["ranks"]) != len(new["victims"]["ranks"]):
        told.append(f"victims {len(old['victims']['ranks'])} → {len(new['victims']['ranks'])}")
    if old["advice"]["action"] != new["advice"]["action"]:
        told.append(f"advice: {ACTIONS[Action(new['advice']['action'])]}")
    kinds = {item["kind"] for item in old["evidence"]}
    fresh = sorted({item["kind"] for item in new["evidence"]} - kinds)
    if fresh:
        told.append(f"more evidence: {', '.join(fresh)}")
    if abs(old["confidence"] - new["confidence"]) >= 0.05:
        told.append(f"confidence {old['confidence']:.0%} → {new['confidence']:.0%}")
    return told


def _step(at: int, kind: str, who: str | None, text: str) -> dict[str, Any]:
    return {"at": at, "kind": kind, "who": who, "text": text}
