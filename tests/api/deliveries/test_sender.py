"""Alerts on their way, to a real receiver."""

import json
import time

import pytest
from findings import SECOND, finding
from receiver import Receiver
from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError
from support import wait_until

from offbeat import metrics
from offbeat.api.deliveries.sender import Sender
from offbeat.settings import ServiceSettings
from offbeat.store import InProcessBus, open_store


@pytest.fixture
def receiver():
    """Give a receiver on loopback."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path):
    """Give an empty store."""
    with open_store(ServiceSettings(data_dir=tmp_path)) as made:
        yield made


@pytest.fixture
def start(store):
    """Give a function that starts a sender; all are stopped at the end."""
    bus, senders = InProcessBus(), []

    def begin(**settings):
        sender = Sender(store, bus, **{"allow_private": True, "first_retry_seconds": 0.02, **settings})
        sender.start()
        senders.append(sender)
        return bus

    yield begin
    for sender in senders:
        sender.stop()


def verify(secret, request):
    headers, body, _ = request
    return Signer(secret).verify(body, headers)


def test_opened_and_resolved_are_signed_and_retried_with_the_same_id(store, start, receiver):
    """A receiver that fails twice gets the same message a third time, signed; the end of the incident comes after."""
    receiver.answer = lambda n: 503 if n <= 2 else 204
    _, secret = store.webhooks.add(receiver.url, "offbeat")
    bus = start()
    incident = store.incidents.apply(finding(), time.time_ns())
    bus.publish("incidents", incident)
    wait_until(lambda: len(receiver.requests) == 3)
    assert len({headers["webhook-id"] for headers, _, _ in receiver.requests}) == 1
    for request in receiver.requests:
        assert verify(secret, request)["data"]["id"] == incident.id
        assert request[2] == "/hook?x=1"
        assert request[0]["Host"] == f"127.0.0.1:{receiver.port}"
    at = time.time_ns() + SECOND
    bus.publish("incidents", store.incidents.apply(finding(ended_at=at), at))
    wait_until(lambda: len(receiver.requests) == 4)
    body = verify(secret, receiver.requests[3])
    assert (body["type"], body["data"]["state"]) == ("incident.resolved", "resolved")
    wait_until(lambda: store.webhooks.pending() == 0)


def test_a_forged_message_does_not_verify(store, start, receiver):
    """The signature covers the body and the secret."""
    _, secret = store.webhooks.add(receiver.url, "offbeat")
    start()
    store.incidents.apply(finding(), time.time_ns())
    headers, body, path = wait_until(lambda: receiver.requests)[0]
    assert verify(secret, (headers, body, path))
    with pytest.raises(WebhookVerificationError):
        verify(secret, (headers, body.replace(b"train", b"brain"), path))
    with pytest.raises(WebhookVerificationError):
        verify("whsec_" + "A" * 44, (headers, body, path))


def test_an_end_never_overtakes_a_beginning(store, start, receiver):
    """While the receiver is down and the fault ends, the two messages still arrive in order."""
    receiver.answer = lambda n: 500 if n <= 3 else 200
    store.webhooks.add(receiver.url, "alertmanager")
    start()
    now = time.time_ns()
    store.incidents.apply(finding(at=now), now)
    store.incidents.apply(finding(at=now, ended_at=now + SECOND), now + SECOND)
    wait_until(lambda: store.webhooks.pending() == 0)
    said = [json.loads(body)["status"] for _, body, _ in receiver.requests]
    assert said == ["firing"] * 4 + ["resolved"]


def test_what_was_owed_before_a_restart_is_sent_after_it(store, start, receiver):
    """The outbox is in the database; a sender that starts later finds it."""
    store.webhooks.add(receiver.url, "slack")
    store.incidents.apply(finding(), time.time_ns())
    start()
    wait_until(lambda: receiver.requests)


def test_a_redirect_is_not_followed(store, start, receiver):
    """A receiver cannot send us elsewhere."""
    target = Receiver()
    receiver.answer = lambda n: (307, {"Location": target.url}) if n < 3 else 200
    store.webhooks.add(receiver.url, "offbeat")
    start()
    store.incidents.apply(finding(), time.time_ns())
    wait_until(lambda: store.webhooks.pending() == 0)
    assert target.requests == []
    target.close()


def test_a_receiver_that_is_gone_is_asked_no_more(store, start, receiver):
    """410 ends the tries."""
    receiver.answer = lambda _: 410
    store.webhooks.add(receiver.url, "offbeat")
    start()
    store.incidents.apply(finding(), time.time_ns())
    wait_until(lambda: store.webhooks.pending() == 0)
    assert len(receiver.requests) == 1


def test_the_address_is_judged_at_every_send(store, start, receiver):
    """An address that was allowed when it was added, and is not now, is not called."""
    store.webhooks.add(receiver.url, "offbeat")
    store.webhooks.add("http://169.254.169.254/latest/meta-data", "offbeat")
    retried = metrics.counter("offbeat_webhook_deliveries_total").labels("offbeat", "retried")
    before = retried._value.get()
    start(allow_private=False)
    store.incidents.apply(finding(), time.time_ns())
    wait_until(lambda: retried._value.get() >= before + 4)
    assert receiver.requests == []


def test_one_dead_receiver_does_not_hold_up_the_others(store, start, receiver):
    """Who does not answer costs the rest nothing."""
    dead = Receiver()
    dead.answer = lambda _: time.sleep(3) or 200
    store.webhooks.add(dead.url, "offbeat")
    store.webhooks.add(receiver.url, "offbeat")
    start()
    begin = time.monotonic()
    store.incidents.apply(finding(), time.time_ns())
    wait_until(lambda: receiver.requests)
    assert time.monotonic() - begin < 3
    dead.close()


def test_an_old_alert_is_given_up(store, start, receiver):
    """After a day nobody acts on it any more."""
    receiver.answer = lambda _: 500
    store.webhooks.add(receiver.url, "offbeat")
    store.incidents.apply(finding(), time.time_ns() - 2 * 86_400 * SECOND)
    start()
    wait_until(lambda: store.webhooks.pending() == 0)
    assert len(receiver.requests) == 1
