"""Commands that change something."""

import json

import pytest

from offbeat.cli import main


def incidents(offbeat):
    return json.loads(offbeat("incidents", "-o", "json").stdout)["items"]


def test_an_incident_is_acknowledged_judged_and_resolved_in_silence(offbeat):
    """Success prints nothing; --dry-run says what would happen and does nothing."""
    (incident,) = incidents(offbeat)
    dry = offbeat("incidents", "resolve", incident["id"], "--dry-run")
    assert dry.stdout.startswith(f"would resolve {incident['id']}")
    assert incidents(offbeat)[0]["state"] == "open"
    for args in (["ack"], ["feedback", "--right"], ["resolve", "--why", "new fan"]):
        done = offbeat("incidents", args[0], incident["id"], *args[1:])
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (incident,) = incidents(offbeat)
    assert (incident["state"], incident["resolved_why"]) == ("resolved", "new fan")
    again = offbeat("incidents", "ack", incident["id"])
    assert (again.returncode, again.stderr.count("\n")) == (3, 1)


def test_feedback_needs_a_verdict(offbeat):
    """Right or wrong must be said."""
    assert offbeat("incidents", "feedback", "x").returncode == 64


def test_a_token_is_printed_alone_works_and_is_revoked(offbeat, up):
    """The output of `token create` is the token, for use in scripts."""
    assert offbeat("token", "create", "--role", "viewer", "--dry-run").stdout.startswith("would make")
    token = offbeat("token", "create", "--role", "viewer", "--note", "alice").stdout.strip()
    assert token.startswith("obt_")
    assert offbeat("jobs", OFFBEAT_TOKEN=token).returncode == 0
    assert offbeat("token", "list", OFFBEAT_TOKEN=token).returncode == 3
    row = next(i for i in json.loads(offbeat("token", "list", "-o", "json").stdout)["items"] if i["note"] == "alice")
    assert "alice" in offbeat("token", "list").stdout
    assert offbeat("token", "revoke", row["id"]).returncode == 0
    assert offbeat("jobs", OFFBEAT_TOKEN=token).returncode == 3


@pytest.mark.parametrize(
    "args",
    [
        ["token", "create"],
        ["token", "create", "--role", "agent"],
        ["token", "create", "--role", "viewer", "--host", "a"],
        ["token", "create", "--role", "king"],
        ["webhook", "add"],
        ["webhook", "add", "--kind", "pagerduty"],
        ["webhook", "add", "http://x", "--routing-key", "k"],
        ["token"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(args):
    """Wrong combinations are refused before anybody is asked."""
    assert main.run(args) == 64


def test_a_webhook_is_added_listed_and_removed(offbeat):
    """The service on loopback lets alerts go to loopback, and never to a metadata address."""
    secret = offbeat("webhook", "add", "http://127.0.0.1:9/hook").stdout.strip()
    assert secret.startswith("whsec_")
    refused = offbeat("webhook", "add", "http://169.254.169.254/")
    assert (refused.returncode, "metadata" in refused.stderr) == (3, True)
    (row,) = json.loads(offbeat("webhook", "list", "-o", "json").stdout)["items"]
    assert offbeat("webhook", "remove", row["id"]).returncode == 0
    assert json.loads(offbeat("webhook", "list", "-o", "json").stdout)["items"] == []
