"""The uplink against a real service on a real socket, with everything that goes wrong between the two."""

import email.utils
import random
import time

import pytest
from support import wait_until
from telemetry_service import RESET, TelemetryService, slow

from offbeat import records, wire
from offbeat.collector import outbox as outbox_module
from offbeat.collector import uplink as module
from offbeat.collector.outbox import Outbox
from offbeat.collector.spool import Spool
from offbeat.collector.uplink import Uplink, UplinkError, connect


@pytest.fixture
def send(tmp_path, monkeypatch):
    """Return a function that starts an uplink to a URL and returns it with its outbox; pauses are short."""
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(module, "BACKOFF_CAP_SECONDS", 0.03)
    monkeypatch.setattr(module, "REFUSED_SECONDS", 0.1)
    started = []

    def send(url, token="", **options):
        options = {"limit_bytes": 1 << 30, "max_age_seconds": 3600, "write_after": 0.02} | options
        outbox = Outbox(Spool(tmp_path / f"spool{len(started)}", "node1"), **options)
        uplink = Uplink(outbox, "node1", connect(url, token))
        uplink.start()
        started.append((outbox, uplink))
        return outbox, uplink

    yield send
    for outbox, uplink in started:
        uplink.stop(0)
        outbox.close()


def batch(i):
    """Return a batch that can be told from others."""
    return wire.encode({"heartbeats": records.build("heartbeats", {"at": [i], "host": ["node1"], "incarnation": [1]})})


def arrived(service):
    """Return which batches have arrived, in order of their numbers."""
    return [row["at"] for row in service.rows("heartbeats")]


def test_batch_goes_out_at_once(service, send):
    """An idle uplink delivers a batch within a fraction of a second, under the host's name."""
    outbox, _ = send(service.url)
    started = time.monotonic()
    outbox.append(batch(1))
    wait_until(lambda: arrived(service) == [1])
    assert time.monotonic() - started < 5
    wait_until(lambda: outbox.size() == (0, 0))
    assert service.keys == [("node1", outbox.incarnation, 1)]


def test_unix_socket(tmp_path, send):
    """A service behind a Unix socket is reached by unix:///path."""
    service = TelemetryService(unix_path=tmp_path / "s")
    outbox, _ = send(service.url)
    outbox.append(batch(1))
    wait_until(lambda: outbox.size() == (0, 0))
    assert arrived(service) == [1]
    service.close()


@pytest.mark.parametrize("url", ["", "localhost:8844", "ftp://x", "unix://relative", "http://"])
def test_other_urls_are_refused(url):
    """A URL that cannot be used is refused at start, in words that say what would do."""
    with pytest.raises(UplinkError, match="give http://"):
        connect(url, "")


def test_token_is_sent(send):
    """The token goes along as a bearer token."""
    service = TelemetryService(token="t0k")
    outbox, _ = send(service.url, token="t0k")
    outbox.append(batch(1))
    wait_until(lambda: arrived(service) == [1])
    service.close()


@pytest.mark.parametrize(
    "answer",
    [
        (503, {}, {"detail": "starting"}),
        (429, {"Retry-After": "0"}, {}),
        (500, {}, ["not", "a", "problem"]),
        (202, {}, {"no": "number"}),
        (202, {}, "text"),
        RESET,
    ],
)
def test_passing_trouble_loses_nothing(service, send, answer):
    """Whatever passing trouble the service has, each batch arrives, once and in order."""
    service.fault = lambda n, _key: answer if n % 3 else None
    outbox, _ = send(service.url)
    for i in range(10):
        outbox.append(batch(i))
    wait_until(lambda: outbox.size() == (0, 0), 20)
    assert arrived(service) == list(range(10))
    assert len(service.keys) == 10


def test_random_faults_account_for_every_batch(service, send):
    """Under random resets, refusals of service and delays every batch arrives and none is counted lost."""
    chance = random.Random(7)
    faults = [None, None, RESET, (503, {}, {}), (429, {"Retry-After": "0.01"}, {}), (502, {}, {})]

    def fault(_n, _key):
        time.sleep(chance.random() * 0.01)
        return chance.choice(faults)

    service.fault = fault
    outbox, _ = send(service.url)
    for i in range(30):
        outbox.append(batch(i))
    wait_until(lambda: outbox.size() == (0, 0), 30)
    assert arrived(service) == list(range(30))
    assert not outbox.counts["dropped"] + outbox.counts["refused"] + outbox.counts["damaged"]


def test_reset_after_the_service_took_it(service, send):
    """A batch whose answer was lost is sent again under the same name, which the service knows."""
    real = service._take
    first = []

    def take_and_break(*args):
        answer = real(*args)
        if not first:
            first.append(answer)
            return RESET
        return answer

    service._take = take_and_break
    outbox, _ = send(service.url)
    outbox.append(batch(1))
    wait_until(lambda: outbox.size() == (0, 0))
    assert [key[2] for key in service.keys] == [1, 1]
    assert arrived(service) == [1]


def test_retry_after_is_honoured(service, send):
    """The service's Retry-After is waited for, as seconds or as a date."""
    times = []

    def fault(n, _key):
        times.append(time.monotonic())
        return (503, {"Retry-After": "0.7"}, {}) if n == 1 else None

    service.fault = fault
    outbox, _ = send(service.url)
    outbox.append(batch(1))
    wait_until(lambda: len(times) == 2)
    assert 0.7 <= times[1] - times[0] < 30

    class Answer:
        headers = {"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)}  # noqa: RUF012 - a fake

    assert 27 < module._retry_after(Answer) < 31
    for text in ("soon", "nan", ""):
        Answer.headers = {"Retry-After": text}
        assert module._retry_after(Answer) is None


def test_outage_and_return(tmp_path, send):
    """Through an outage batches wait on disk; when the service is back all arrive within the longest pause."""
    service = TelemetryService(unix_path=tmp_path / "s")
    service.close()
    (tmp_path / "s").unlink()
    outbox, _ = send(service.url)
    for i in range(20):
        outbox.append(batch(i))
    wait_until(lambda: len(list(outbox._spool.directory.glob("*.batch"))) == 20)
    back = TelemetryService(unix_path=tmp_path / "s")
    wait_until(lambda: outbox.size() == (0, 0))
    assert arrived(back) == list(range(20))
    back.close()


def test_slow_service_does_not_delay_the_reader(service, send):
    """Handing on a batch takes no time though the service takes a second for each."""
    service.fault = slow(1.0)
    outbox, _ = send(service.url)
    started = time.monotonic()
    for i in range(100):
        outbox.append(batch(i))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [400, 413])
def test_refused_batch_is_put_aside(service, send, status):
    """A batch that the service refuses for its content is put aside and counted; the rest goes on without a gap."""
    bodies = {}

    def fault(_n, key):
        bodies[key[1]] = bodies.get(key[1], 0) + 1
        return (status, {}, {"detail": "gauges.at: column is missing"}) if key[1] == 2 and bodies[2] == 1 else None

    service.fault = fault
    outbox, _ = send(service.url)
    for i in range(4):
        outbox.append(batch(i))
    wait_until(lambda: outbox.size() == (0, 0))
    assert arrived(service) == [0, 2, 3]
    assert service.durable(outbox.incarnation) == 4
    assert outbox.counts["refused"] == 1
    assert len(list((outbox._spool.directory / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_token_is_said_once_and_loses_nothing(service, send, status, capsys):
    """While the service does not let us in batches wait, the log says so once with its words, and then all arrive."""
    service.fault = lambda n, _key: (status, {}, {"detail": "token is bound to host node2"}) if n < 6 else None
    outbox, _ = send(service.url)
    for i in range(3):
        outbox.append(batch(i))
    wait_until(lambda: outbox.size() == (0, 0))
    assert arrived(service) == [0, 1, 2]
    assert capsys.readouterr().out.count("token is bound to host node2") == 1


def test_another_agent_of_the_same_name_ends_this_one(service, send):
    """An agent that is told again and again that another has its name gives up with the service's words."""
    service.fault = lambda _n, _key: (409, {}, {"detail": "claimed by incarnation 9"})
    outbox, uplink = send(service.url)
    outbox.append(batch(1))
    wait_until(lambda: uplink.fatal)
    assert "host 'node1'" in uplink.fatal
    assert "claimed by incarnation 9" in uplink.fatal
    assert service.requests == module.CONFLICTS
    assert outbox.size()[0] == 1


def test_durable_later_keeps_the_batch(service, send, monkeypatch):
    """A batch that the service has taken but not made durable is kept and asked about again."""
    monkeypatch.setattr(outbox_module, "RESEND_SECONDS", 0.1)
    service.fault = lambda n, _key: (202, {}, {"durable": 0}) if n < 4 else None
    outbox, _ = send(service.url)
    incarnation = outbox.incarnation
    outbox.append(batch(1))
    wait_until(lambda: outbox.size() == (0, 0))
    assert service.requests == 4
    assert outbox.incarnation == incarnation


def test_dropped_batches_do_not_block_the_rest(service, send, monkeypatch):
    """The service is told not to wait for batches that the spool dropped; the rest goes under its own numbers."""
    monkeypatch.setattr(outbox_module, "RESEND_SECONDS", 0.1)
    service.fault = lambda _n, _key: (503, {}, {})
    size = len(batch(0))
    outbox, _ = send(service.url, limit_bytes=5 * size + size // 2)
    for i in range(10):
        outbox.append(batch(i))
    assert outbox.counts["dropped"] == 5
    service.fault = lambda _n, _key: None
    wait_until(lambda: outbox.size() == (0, 0))
    assert set(arrived(service)) - {0} == {5, 6, 7, 8, 9}  # the first may have been on its way
    outbox.append(batch(99))
    wait_until(lambda: outbox.size() == (0, 0))
    assert len(service.keys) == len(set(service.keys))


def test_service_that_lost_everything(service, send, monkeypatch):
    """A service that comes back without its database is served on, and does not wait for what it had."""
    monkeypatch.setattr(outbox_module, "RESEND_SECONDS", 0.1)
    outbox, _ = send(service.url)
    for i in range(5):
        outbox.append(batch(i))
    wait_until(lambda: outbox.size() == (0, 0))
    service.batches.clear()
    service.skipped.clear()
    outbox.append(batch(5))
    wait_until(lambda: outbox.size() == (0, 0))
    assert set(arrived(service)) == {5}


def test_stop_sends_what_is_left(service, send):
    """A stopping uplink sends what it has before it ends."""
    service.fault = slow(0.05)
    outbox, uplink = send(service.url)
    for i in range(10):
        outbox.append(batch(i))
    uplink.stop(10)
    assert arrived(service) == list(range(10))


def test_stop_does_not_wait_for_a_dead_service(send):
    """Without a service, stopping takes no longer than it was given."""
    outbox, uplink = send("http://127.0.0.1:9")
    outbox.append(batch(1))
    started = time.monotonic()
    uplink.stop(0.5)
    assert time.monotonic() - started < 9
    assert outbox.size()[0] == 1
