"""The forms an incident is told in. One incident is one key for the receiver, when it opens and when it ends."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from offbeat.faults import ACTIONS, headline, runbook
from offbeat.model import Action
from offbeat.wording import culprits

if TYPE_CHECKING:
    from offbeat.store import Delivery

PAGERDUTY_SUMMARY = 1024
"""Characters PagerDuty takes in a summary; a longer one refuses the event."""
_NEVER = "0001-01-01T00:00:00Z"
_COLOURS = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


class Kind(StrEnum):
    """The receivers that are spoken to."""

    OFFBEAT = "offbeat"
    ALERTMANAGER = "alertmanager"
    SLACK = "slack"
    PAGERDUTY = "pagerduty"


def build(delivery: Delivery, public_url: str) -> dict[str, Any]:
    """Return the JSON body for *delivery*.

    Args:
        delivery: What is owed, and to whom.
        public_url: How people reach the dashboard; empty when nobody said.
    """
    base = f"{public_url.rstrip('/')}/" if public_url else ""
    return _FORMS[Kind(delivery.webhook.kind)](delivery, _Words(delivery, base))


class _Words:
    """What every form says of an incident; the links are empty when nobody said how people reach the dashboard."""

    def __init__(self, delivery: Delivery, base: str) -> None:
        self.incident = delivery.incident
        self.finding = self.incident["finding"]
        self.ended = delivery.kind == "resolved"
        self.who = culprits(self.finding)
        self.headline = headline(self.incident["class"], self.incident["job"], self.who)
        self.link = f"{base}#/incidents/{quote(self.incident['id'], safe='')}" if base else ""
        self.runbook = base + runbook(self.incident["class"]) if base else ""
        advice = self.finding["advice"]
        self.advice = f"{ACTIONS[Action(advice['action'])]}: {advice['why']}"


def _offbeat(delivery: Delivery, words: _Words) -> dict[str, Any]:
    return {
        "schema": "offbeat.incident/1",
        "type": f"incident.{delivery.kind}",
        "timestamp": delivery.created_at,
        "url": words.link or None,
        "headline": words.headline,
        "runbook_url": words.runbook or None,
        "data": words.incident,
    }


def _alertmanager(_: Delivery, words: _Words) -> dict[str, Any]:
    incident, finding = words.incident, words.finding
    labels = {
        "alertname": "Offbeat" + "".join(word.title() for word in incident["class"].replace("_", ".").split(".")),
        "class": incident["class"],
        "severity": incident["severity"],
        "job": incident["job"],
        "attempt": str(incident["attempt"]),
        "incident": incident["id"],
    }
    annotations = {
        "title": words.headline,
        "summary": finding["summary"],
        "description": "\n".join(item["text"] for item in finding["evidence"]),
        "culprits": words.who,
        "advice": words.advice,
    }
    if words.runbook:
        annotations["runbook_url"] = words.runbook
    status = "resolved" if words.ended else "firing"
    group = {"alertname": labels["alertname"], "job": labels["job"]}
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f'{key}="{value}"' for key, value in group.items()) + f"}}:{incident['id']}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "offbeat",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": words.link,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _time(incident["opened_at"]),
                "endsAt": _time(incident["ended_at"]) if words.ended else _NEVER,
                "generatorURL": words.link,
                "fingerprint": hashlib.sha256(incident["id"].encode()).hexdigest()[:16],
            }
        ],
    }


def _slack(_: Delivery, words: _Words) -> dict[str, Any]:
    severity = words.incident["severity"]
    sign = ":white_check_mark: ended" if words.ended else f"{_COLOURS.get(severity, '')} {severity}"
    title = f"{sign}: {_escape(words.headline)}"
    lines = [
        f"*{title}*",
        _escape(words.finding["summary"]),
        f"Class: {_escape(words.incident['class'])}",
        f"Culprits: {_escape(words.who)}",
        f"Advice: {_escape(words.advice)}",
    ]
    if words.link:
        lines.append(f"<{words.link}|Open in the dashboard> · <{words.runbook}|Runbook>")
    text = "\n".join(lines)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}}
    return {"text": title, "blocks": [section]}


def _pagerduty(delivery: Delivery, words: _Words) -> dict[str, Any]:
    incident, finding = words.incident, words.finding
    hosts = finding["culprits"]["hosts"]
    body: dict[str, Any] = {
        "routing_key": delivery.secret,
        "event_action": "resolve" if words.ended else "trigger",
        "dedup_key": incident["id"],
        "client": "Offbeat",
        "payload": {
            "summary": f"{words.headline}. {finding['summary']}"[:PAGERDUTY_SUMMARY],
            "source": hosts[0] if hosts else incident["job"],
            "severity": incident["severity"],
            "timestamp": _time(incident["opened_at"]),
            "component": words.who,
            "group": incident["job"],
            "class": incident["class"],
            "custom_details": {
                "evidence": [item["text"] for item in finding["evidence"]],
                "advice": finding["advice"],
                "confidence": finding["confidence"],
                "victims": finding["victims"]["ranks"],
            },
        },
    }
    if words.link:
        body["client_url"] = words.link
        body["links"] = [{"href": words.link, "text": "Dashboard"}, {"href": words.runbook, "text": "Runbook"}]
    return body


_FORMS = {Kind.OFFBEAT: _offbeat, Kind.ALERTMANAGER: _alertmanager, Kind.SLACK: _slack, Kind.PAGERDUTY: _pagerduty}


def _time(ns: int | None) -> str:
    if ns is None:
        return _NEVER
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escape(text: str) -> str:
    # Slack reads only these three.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
