"""The forms an incident is told in. One incident is one key for the receiver, when it opens and when it ends."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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
    incident = delivery.incident
    link = f"{public_url.rstrip('/')}/#incident={quote(incident['id'], safe='')}" if public_url else ""
    ended = delivery.kind == "resolved"
    return _FORMS[Kind(delivery.webhook.kind)](delivery, incident, link, ended)


def _offbeat(delivery: Delivery, incident: dict[str, Any], link: str, _: bool) -> dict[str, Any]:
    return {
        "schema": "offbeat.incident/1",
        "type": f"incident.{delivery.kind}",
        "timestamp": delivery.created_at,
        "url": link or None,
        "data": incident,
    }


def _alertmanager(_: Delivery, incident: dict[str, Any], link: str, ended: bool) -> dict[str, Any]:
    finding = incident["finding"]
    labels = {
        "alertname": "Offbeat" + "".join(word.title() for word in incident["class"].replace("_", ".").split(".")),
        "class": incident["class"],
        "severity": incident["severity"],
        "job": incident["job"],
        "attempt": str(incident["attempt"]),
        "incident": incident["id"],
    }
    annotations = {
        "summary": finding["summary"],
        "description": "\n".join(item["text"] for item in finding["evidence"]),
        "culprits": culprits(finding),
        "advice": f"{finding['advice']['action']}: {finding['advice']['why']}",
    }
    status = "resolved" if ended else "firing"
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
        "externalURL": link,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _time(incident["opened_at"]),
                "endsAt": _time(incident["ended_at"]) if ended else _NEVER,
                "generatorURL": link,
                "fingerprint": hashlib.sha256(incident["id"].encode()).hexdigest()[:16],
            }
        ],
    }


def _slack(_: Delivery, incident: dict[str, Any], link: str, ended: bool) -> dict[str, Any]:
    finding = incident["finding"]
    sign = ":white_check_mark: ended" if ended else f"{_COLOURS.get(incident['severity'], '')} {incident['severity']}"
    lines = [
        f"*{sign}: {_escape(incident['class'])}* in job {_escape(incident['job'])}",
        _escape(finding["summary"]),
        f"Culprits: {_escape(culprits(finding))}",
        f"Advice: {_escape(finding['advice']['action'])}. {_escape(finding['advice']['why'])}",
    ]
    if link:
        lines.append(f"<{link}|Open in the dashboard>")
    text = "\n".join(lines)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}}
    return {"text": f"{sign}: {_escape(finding['summary'])}", "blocks": [section]}


def _pagerduty(delivery: Delivery, incident: dict[str, Any], link: str, ended: bool) -> dict[str, Any]:
    finding = incident["finding"]
    hosts = finding["culprits"]["hosts"]
    body: dict[str, Any] = {
        "routing_key": delivery.secret,
        "event_action": "resolve" if ended else "trigger",
        "dedup_key": incident["id"],
        "client": "Offbeat",
        "payload": {
            "summary": f"{incident['class']}: {finding['summary']}"[:PAGERDUTY_SUMMARY],
            "source": hosts[0] if hosts else incident["job"],
            "severity": incident["severity"],
            "timestamp": _time(incident["opened_at"]),
            "component": culprits(finding),
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
    if link:
        body["client_url"] = link
        body["links"] = [{"href": link, "text": "Dashboard"}]
    return body


_FORMS = {Kind.OFFBEAT: _offbeat, Kind.ALERTMANAGER: _alertmanager, Kind.SLACK: _slack, Kind.PAGERDUTY: _pagerduty}


def _time(ns: int | None) -> str:
    if ns is None:
        return _NEVER
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escape(text: str) -> str:
    # Slack reads only these three.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
