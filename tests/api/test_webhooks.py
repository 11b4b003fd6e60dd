"""/webhooks: administration."""

import pytest

API = "/api/v1/webhooks"


def test_a_webhook_is_added_listed_and_removed(service, admin):
    """The secret is shown once, and never listed."""
    service.state.settings.webhook_allow_private = True
    made = admin.post(API, json={"url": "http://127.0.0.1:9/x"})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    (listed,) = admin.get(API).json()["items"]
    assert "secret" not in listed
    assert admin.delete(f"{API}/{listed['id']}").status_code == 204
    assert admin.get(API).json()["items"] == []
    assert admin.delete(f"{API}/{listed['id']}").status_code == 404


def test_pagerduty_brings_its_own_key(admin, service, monkeypatch):
    """PagerDuty's address is known; its routing key is not shown again."""
    monkeypatch.setattr("offbeat.api.deliveries.guard.resolve", lambda *_, **__: None)
    made = admin.post(API, json={"kind": "pagerduty", "routing_key": "R0UT1NG"}).json()
    assert made["secret"] is None
    assert made["url"].startswith("https://events.pagerduty.com/")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "http://127.0.0.1/x"},
        {"url": "http://169.254.169.254/x"},
        {"url": "ftp://93.184.216.34/x"},
        {"url": "http://93.184.216.34/", "kind": "fax"},
        {"url": "http://93.184.216.34/", "kind": "pagerduty"},
        {"url": "http://93.184.216.34/", "routing_key": "x"},
    ],
)
def test_a_webhook_that_leads_nowhere_good_is_refused(admin, body):
    """Loopback, metadata, other schemes, unknown kinds: refused with the reason, and not kept."""
    answer = admin.post(API, json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert admin.get(API).json()["items"] == []
