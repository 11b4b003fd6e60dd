"""GET /incidents/stream, read by a client that knows server-sent events."""

import threading
import time

import httpx2
import pytest
from findings import SECOND, finding, put_job
from support import wait_until

from offbeat.api import stream

PATH = "/api/v1/incidents/stream"


class Reader:
    """Reads events in a thread until the stream ends."""

    def __init__(self, service, **headers):
        self.events, self.ended = [], threading.Event()
        self._client = service.client("viewer")
        before = len(service.state.wakes)
        self._thread = threading.Thread(target=self._read, args=(headers,), daemon=True)
        self._thread.start()
        wait_until(lambda: len(service.state.wakes) > before or self.events)

    def _read(self, headers):
        with self._client.stream("GET", PATH, headers=headers, timeout=30) as answer:
            self.events.extend(()) if answer.status_code == 200 else self.events.append(answer.status_code)
            for event in httpx2.EventSource(answer):
                self.events.append(event)
        self.ended.set()

    def named(self, name):
        """Return the content of the events called *name*."""
        return [event.json() for event in self.events if event.event == name]


def opened(service, id_):
    return service.store.incidents.apply(finding(id_), time.time_ns())


def tell(service, incident):
    service.bus.publish("incidents", incident)


def test_changes_arrive_as_they_happen(service):
    """An incident, its end, a job and its beat reach a listener within a moment."""
    reader = Reader(service)
    tell(service, opened(service, "f1"))
    (incident,) = wait_until(lambda: reader.named("incident"))
    assert (incident["state"], incident["finding"]["id"]) == ("open", "f1")
    service.bus.publish("jobs", put_job(service.store, windows=1))
    (job,) = wait_until(lambda: reader.named("job"))
    assert (job["id"], job["open_incidents"]) == ("train", 1)
    service.bus.publish("beats", {"job": "train", "at": 5, "iteration_ns": 187_000_000})
    (beat,) = wait_until(lambda: reader.named("beat"))
    assert beat == {"job": "train", "at": 5, "iteration_seconds": 0.187}
    at = time.time_ns() + SECOND
    tell(service, service.store.incidents.apply(finding("f1", ended_at=at), at))
    wait_until(lambda: len(reader.named("incident")) > 1)
    assert reader.named("incident")[-1]["state"] == "resolved"


def test_a_new_listener_hears_only_what_is_new(service):
    """History is read by GET /incidents; the stream begins now."""
    opened(service, "old")
    reader = Reader(service)
    tell(service, opened(service, "new"))
    wait_until(lambda: reader.named("incident"))
    assert [item["finding"]["id"] for item in reader.named("incident")] == ["new"]


def test_a_returning_listener_gets_what_it_missed(service, monkeypatch):
    """With Last-Event-ID the stream goes on after that event: each once, in order, however many."""
    monkeypatch.setattr(stream, "EVENTS_AT_ONCE", 3)
    reader = Reader(service)
    tell(service, opened(service, "f0"))
    wait_until(lambda: reader.named("incident"))
    last = reader.events[-1].id
    for n in range(1, 9):
        opened(service, f"f{n}")
    back = Reader(service, **{"Last-Event-ID": last})
    wait_until(lambda: len(back.named("incident")) >= 8)
    tell(service, opened(service, "f9"))
    wait_until(lambda: len(back.named("incident")) >= 9)
    assert [item["finding"]["id"] for item in back.named("incident")] == [f"f{n}" for n in range(1, 10)]


@pytest.mark.parametrize("last", ["nonsense", "-5", "1234", "99999999999999999999999"])
def test_a_wrong_last_event_id_does_no_harm(service, last):
    """An id that nobody gave out, or gave out before the database was made anew, means from now on."""
    reader = Reader(service, **{"Last-Event-ID": last})
    tell(service, opened(service, "f1"))
    wait_until(lambda: reader.named("incident"))


def test_a_quiet_stream_sends_comments(service, monkeypatch):
    """Proxies see life although nothing happens."""
    monkeypatch.setattr(stream, "IDLE_SECONDS", 0.05)
    with service.client("viewer") as client, client.stream("GET", PATH) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)] == [": following", "retry: 2000", ""]
        assert next(lines) == ": idle"


def test_streams_end_when_the_service_stops(service):
    """A stop ends listeners in order; nobody waits for them to go."""
    readers = [Reader(service) for _ in range(3)]
    begin = time.monotonic()
    service.server.should_exit = True
    for reader in readers:
        assert reader.ended.wait(5)
    assert time.monotonic() - begin < 5


def test_a_listener_that_leaves_is_forgotten(service):
    """Its place and its subscriptions are free again."""
    with service.client("viewer") as client, client.stream("GET", PATH) as answer:
        next(answer.iter_lines())
        assert service.state.streams.taken == 1
    wait_until(lambda: not service.state.wakes and service.state.streams.taken == 0)


def test_too_many_listeners_are_asked_to_wait(service):
    """Beyond the bound a listener gets 429 with Retry-After."""
    service.state.streams.taken = service.state.streams.places
    with service.client("viewer") as client:
        answer = client.get(PATH)
    assert answer.status_code == 429
    assert answer.headers["retry-after"]


def test_a_browser_listens_with_its_cookie(service):
    """EventSource sends no headers of ours; the session cookie is enough."""
    with service.client() as client:
        client.post("/api/v1/session", json={"token": service.token("viewer")})
        with client.stream("GET", PATH) as answer:
            assert answer.status_code == 200
