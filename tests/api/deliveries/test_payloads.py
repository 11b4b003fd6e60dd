"""What receivers are told."""

import json

import pytest
from findings import finding

from offbeat.api.deliveries.payloads import build
from offbeat.model import Culprits, IncidentState
from offbeat.store import Delivery, Incident, Webhook

T0 = 1_800_000_000_123_000_000


def delivery(kind, event="opened", **changes):
    """Return a delivery to a webhook of *kind*."""
    ended = event == "resolved"
    state = IncidentState.RESOLVED if ended else IncidentState.OPEN
    row = Incident(
        "inc1", "train", 2, state, 1, finding(at=T0, **changes), T0, T0, T0, T0 + 60 * 10**9 if ended else None
    )
    return Delivery("msg_1", Webhook("wh", "http://x", kind, 0), "key", event, row.to_dict(), 0, T0)


def test_the_own_form_embeds_the_incident():
    """offbeat.incident/1 is the incident as the API gives it."""
    body = build(delivery("offbeat"), "https://o.example/")
    assert (body["schema"], body["type"]) == ("offbeat.incident/1", "incident.opened")
    assert body["data"]["finding"]["class"] == "slow.compute"
    assert body["url"] == "https://o.example/#/incidents/inc1"
    assert body["headline"] == "train is slowed by the computation of rank 5, host node1"
    assert body["runbook_url"] == "https://o.example/runbook/slow.html#slowcompute"


def test_alertmanager_gets_version_4():
    """All members of Alertmanager's webhook are there; the end of an incident carries the same fingerprint."""
    firing, resolved = (build(delivery("alertmanager", event), "") for event in ("opened", "resolved"))
    members = (
        "version groupKey truncatedAlerts status receiver groupLabels commonLabels commonAnnotations externalURL alerts"
    )
    assert set(members.split()) == set(firing)
    (alert,) = firing["alerts"]
    assert (firing["version"], firing["status"], alert["status"]) == ("4", "firing", "firing")
    assert alert["labels"]["alertname"] == "OffbeatSlowCompute"
    assert all(isinstance(value, str) for value in alert["labels"].values())
    assert alert["startsAt"] == "2027-01-15T08:00:00.123Z"
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    (end,) = resolved["alerts"]
    assert (resolved["status"], end["endsAt"]) == ("resolved", "2027-01-15T08:01:00.123Z")
    assert end["fingerprint"] == alert["fingerprint"]
    assert resolved["groupKey"] == firing["groupKey"]


def test_pagerduty_gets_one_key_for_both_ends():
    """Trigger and resolve share the deduplication key; the summary fits."""
    trigger = build(delivery("pagerduty", summary="x" * 3000), "https://o.example")
    resolve = build(delivery("pagerduty", "resolved"), "https://o.example")
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"] == "inc1"
    assert trigger["routing_key"] == "key"
    assert len(trigger["payload"]["summary"]) == 1024
    assert trigger["payload"]["severity"] in {"critical", "error", "warning", "info"}
    assert trigger["payload"]["source"] == "node1"


def test_slack_reads_text_not_commands():
    """Names from elsewhere cannot become mentions or links."""
    body = build(delivery("slack", summary="<!channel> & <http://evil|click>"), "")
    text = json.dumps(body)
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text


@pytest.mark.parametrize("kind", ["offbeat", "alertmanager", "slack", "pagerduty"])
@pytest.mark.parametrize("event", ["opened", "resolved"])
def test_every_form_copes_with_a_finding_that_names_nobody(kind, event):
    """A job that is slow as a whole has no culprit, and is told all the same."""
    json.dumps(build(delivery(kind, event, culprits=Culprits(), evidence=(), victims=()), ""), allow_nan=False)
