"""Webhooks and what they are owed."""

import base64
import threading
from dataclasses import replace

import pytest

from offbeat.model import Action, Advice, FaultClass, Finding, Severity
from offbeat.store import NotFoundError
from offbeat.store.webhooks import LEASE_NS

T0 = 1_800_000_000_000_000_000
FINDING = Finding(
    "x", FaultClass.LOST_RANK, Severity.CRITICAL, "gone", Advice(Action.NONE, ""), detected_at=T0, job="train"
)


@pytest.fixture
def webhook(store):
    """Give a webhook."""
    return store.webhooks.add("https://example.org/hook", "offbeat")[0]


def test_a_webhook_and_its_secret(store, clock):
    """A secret is made in the form that signing libraries take, shown once and not listed; a given one is kept."""
    webhook, secret = store.webhooks.add("https://example.org", "slack", who="ann")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert store.webhooks.list() == (webhook,)
    assert secret not in repr(store.webhooks.list())
    store.incidents.apply(FINDING, T0)
    (delivery,) = store.webhooks.due(T0)
    assert delivery.secret == secret
    assert secret not in repr(delivery)
    assert store.webhooks.add("https://example.org", "pagerduty", secret="routing key")[1] == "routing key"
    assert store.audit.list().items[-1].who == "ann"


def test_an_unknown_kind_is_refused(store):
    """There are four forms."""
    with pytest.raises(ValueError, match="'mail' is none of offbeat"):
        store.webhooks.add("https://example.org", "mail")


def test_each_webhook_is_owed_the_opening_and_the_end(store):
    """Every webhook gets one message for each, with the incident as it was then, and no more for changes between."""
    for _ in range(2):
        store.webhooks.add("https://example.org", "offbeat")
    incident = store.incidents.apply(FINDING, T0)
    store.incidents.apply(replace(FINDING, summary="really gone"), T0 + 1)
    store.incidents.acknowledge(incident.id, "ann")
    opened = store.webhooks.due(T0 + 2)
    assert [delivery.kind for delivery in opened] == ["opened", "opened"]
    assert {delivery.incident["finding"]["summary"] for delivery in opened} == {"gone"}
    for delivery in opened:
        store.webhooks.done(delivery.id)
    store.incidents.apply(replace(FINDING, summary="really gone").ended(T0 + 3), T0 + 3)
    ended = store.webhooks.due(T0 + 4)
    assert [(delivery.kind, delivery.incident["state"]) for delivery in ended] == [("resolved", "resolved")] * 2
    assert len({delivery.id for delivery in (*opened, *ended)}) == 4


def test_what_is_taken_is_lent(store, webhook):
    """Nobody else gets a delivery while its sender works; if the sender dies, it is given out again, the same id."""
    store.incidents.apply(FINDING, T0)
    (first,) = store.webhooks.due(T0)
    assert store.webhooks.due(T0 + LEASE_NS - 1) == ()
    (again,) = store.webhooks.due(T0 + LEASE_NS)
    assert again.id == first.id


def test_a_failed_delivery_is_due_again_when_asked(store, webhook):
    """Tries are counted; given up, it is never due again."""
    store.incidents.apply(FINDING, T0)
    (first,) = store.webhooks.due(T0)
    store.webhooks.failed(first.id, T0 + 100, "HTTP\0 500")
    assert store.webhooks.due(T0 + 99) == ()
    (second,) = store.webhooks.due(T0 + 100)
    assert (second.id, second.tries) == (first.id, 1)
    assert store.webhooks.pending() == 1
    store.webhooks.failed(first.id, None, "gone")
    assert store.webhooks.pending() == 0
    assert store.webhooks.due(T0 + LEASE_NS * 9) == ()


def test_the_end_never_overtakes_the_opening(store, webhook):
    """While the opening is being tried, the end waits; sent or given up, it comes."""
    store.incidents.apply(FINDING, T0)
    store.incidents.apply(FINDING.ended(T0 + 1), T0 + 1)
    (opened,) = store.webhooks.due(T0 + 2)
    store.webhooks.failed(opened.id, T0 + 50, "HTTP 500")
    assert store.webhooks.due(T0 + 49) == ()
    assert [delivery.kind for delivery in store.webhooks.due(T0 + 50)] == ["opened"]
    store.webhooks.done(opened.id)
    assert [delivery.kind for delivery in store.webhooks.due(T0 + 51)] == ["resolved"]


def test_two_senders_share_the_work(store, webhook):
    """However many ask at the same time, each delivery is given to one."""
    for number in range(20):
        store.incidents.apply(replace(FINDING, id=str(number)), T0)
    taken = []

    def take():
        while due := store.webhooks.due(T0 + 1, limit=3):
            taken.extend(delivery.id for delivery in due)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 20


def test_a_removed_webhook_is_owed_nothing(store, webhook):
    """Its deliveries go with it; removing it again is an error."""
    store.incidents.apply(FINDING, T0)
    store.webhooks.remove(webhook.id)
    assert (store.webhooks.due(T0), store.webhooks.list(), store.webhooks.pending()) == ((), (), 0)
    with pytest.raises(NotFoundError):
        store.webhooks.remove(webhook.id)


def test_a_change_that_fails_owes_nothing(store, webhook, monkeypatch):
    """The message is written with the change or not at all."""

    def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("offbeat.store.incidents.events.Log.add", fail)
        with pytest.raises(RuntimeError):
            store.incidents.apply(FINDING, T0)
    assert store.webhooks.pending() == 0
    assert store.incidents.list().items == ()


def test_expiry_keeps_what_is_still_owed(store, webhook):
    """Sent messages are forgotten with age, waiting ones are not."""
    store.incidents.apply(FINDING, T0)
    store.incidents.expire(T0 + 1)
    (delivery,) = store.webhooks.due(T0 + 1)
    store.webhooks.done(delivery.id)
    store.incidents.expire(T0 + 1)
    assert store.webhooks.due(T0 + LEASE_NS * 9) == ()
