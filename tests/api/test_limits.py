"""Bounds on what a client can take."""

import time

from offbeat.api import limits


def request(service, head):
    """Send *head* and return a connected socket."""
    connection = service.raw()
    connection.sendall(head.replace("\n", "\r\n").encode())
    return connection


def batch_head(service):
    """Return the head of a batch of 100 bytes."""
    token = service.token("agent", "node0")
    return (
        f"POST /api/v1/telemetry HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\n"
        "Offbeat-Batch: node0/1/1\nContent-Length: 100\n\n"
    )


def test_a_body_that_does_not_come_is_not_waited_for(service, monkeypatch):
    """A client that announces a body and sends nothing loses its place after a while."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 0.2)
    head = batch_head(service)
    begin = time.monotonic()
    with request(service, head) as connection:
        connection.sendall(b"x")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begin < 5
    assert service.state.batches.taken == 0


def test_an_announced_giant_is_refused_without_being_read(service):
    """A length of terabytes is answered 413, whatever comes after."""
    head = "POST /api/v1/telemetry HTTP/1.1\nHost: x\nExpect: 100-continue\nContent-Length: 9999999999999\n\n"
    with request(service, head) as connection:
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert b" 413 " in answer
    assert b"application/problem+json" in answer


def test_a_client_that_leaves_in_the_middle_gives_its_place_back(service, viewer):
    """Half a batch and a closed connection leave nothing behind."""
    with request(service, batch_head(service) + "abc"):
        pass
    assert viewer.get("/api/v1/jobs").status_code == 200
    assert service.store.telemetry.read("gauges").num_rows == 0
