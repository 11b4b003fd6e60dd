"""Delivery from spool to store: every record once, whatever breaks between; what is given up is counted and told."""

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from batches import gauges, heartbeat, values
from command import Up
from support import wait_until

from offbeat import wire
from offbeat.collector.outbox import Outbox
from offbeat.collector.spool import Spool
from offbeat.collector.uplink import Uplink, connect
from offbeat.settings import ServiceSettings
from offbeat.store import open_store

ROUNDS, NUMBERS = 4, 40
BATCHES = 360
PATIENCE = 400.0
"""Seconds that a busy machine may take for what it does in twenty."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def up(tmp_path):
    """Return a function that starts a service on this test's data; all are killed at the end."""
    started = []

    def start(*flags):
        started.append(Up(tmp_path / "data", *flags))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.wait()


class BadNetwork:
    """Stands before the service and, by chance, refuses, breaks off, answers falsely, delivers twice, or late."""

    def __init__(self, seed):
        self.service = ""
        self.chance = random.Random(seed)
        self.seen = []
        self.late = []
        network = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                network.carry(self)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def carry(self, handler):
        """Deal with one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        names = ("Authorization", "Content-Type", "Offbeat-Batch", "Offbeat-Gap", "Offbeat-Agent")
        headers = {name: handler.headers[name] for name in names if handler.headers[name]}
        fate = self.chance.choice(["busy", "limited", "reset", "unanswered", "false", "twice", "late", *["well"] * 5])
        self.seen.append(fate)
        if fate in {"busy", "limited"}:
            self.answer(handler, {"busy": 503, "limited": 429}[fate], b"{}", {"Retry-After": "0.02"})
        elif fate == "false":  # as from a replica that forgets what it said
            self.answer(handler, 202, b'{"durable": 0, "duplicate": false}', {})
        elif fate == "reset":
            self.reset(handler)
        elif fate == "late":
            self.late.append((headers, body))
            self.reset(handler)
        else:
            answer = self.forward(headers, body)
            if fate == "twice":
                answer = self.forward(headers, body)
            if fate == "unanswered" or answer is None:
                self.reset(handler)
            else:
                self.answer(handler, answer.status_code, answer.content, {})
        if self.late and self.chance.random() < 0.3:
            self.forward(*self.late.pop(self.chance.randrange(len(self.late))))

    def forward(self, headers, body):
        """Give a request to the service; None where it does not answer."""
        try:
            return httpx2.post(f"{self.service}/api/v1/telemetry", content=body, headers=headers, trust_env=False)
        except httpx2.HTTPError:
            return None

    @staticmethod
    def answer(handler, status, text, headers):
        """Send an answer."""
        handler.send_response(status)
        for name, content in {"Content-Type": "application/json", "Content-Length": len(text), **headers}.items():
            handler.send_header(name, str(content))
        with contextlib.suppress(OSError):  # the sender was killed
            handler.end_headers()
            handler.wfile.write(text)

    @staticmethod
    def reset(handler):
        """Break the connection off."""
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.connection.close()

    def close(self):
        """Stop, after what is still under way has arrived."""
        for headers, body in self.late:
            self.forward(headers, body)
        self._server.shutdown()
        self._server.server_close()


def start_sender(url, token, spool, first, last):
    """Start a process that hands numbers over."""
    program = [sys.executable, Path(__file__).with_name("sender.py"), url, token, spool, str(first), str(last)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment)
    line = process.stdout.readline()
    while line and line != "safe\n":
        line = process.stdout.readline()
    assert line == "safe\n"
    return process


def stored(directory):
    """Return the values that a service, now ended, has stored, and how many batches it counts as lost."""
    with open_store(ServiceSettings(data_dir=directory)) as store:
        return values(store.telemetry.read("gauges")), store.telemetry.lost("node1")


def test_every_record_once(tmp_path, up):
    """Agents and services killed by turns, errors that pass and errors that stay, repeats, late copies: each once."""
    chance, network = random.Random(11), BadNetwork(seed=5)
    service = up()
    token = (tmp_path / "data" / "admin-token").read_text().strip()
    for turn in range(ROUNDS):
        network.service = service.url
        sender = start_sender(network.url, token, tmp_path / "spool", turn * NUMBERS, (turn + 1) * NUMBERS)
        heard = len(network.seen)
        wait_until(lambda heard=heard: len(network.seen) > heard + chance.randrange(20, 80), PATIENCE)
        if turn % 2:
            service.process.kill()
            service.process.communicate()
            service = up()
        sender.kill()
        sender.communicate()
    network.service = service.url
    sender = start_sender(network.url, token, tmp_path / "spool", 0, 0)
    output, _ = sender.communicate(timeout=PATIENCE)
    assert (sender.returncode, output.splitlines()[-1]) == (0, "done")
    network.close()
    assert set(network.seen) == {"busy", "limited", "reset", "unanswered", "false", "twice", "late", "well"}
    assert service.end()[0] == 0
    numbers, _ = stored(tmp_path / "data")
    assert numbers == list(range(ROUNDS * NUMBERS))
    assert not list((tmp_path / "spool").glob("*.batch"))
    assert list((tmp_path / "spool" / "quarantine").iterdir())


@pytest.mark.parametrize("room", [None, 250], ids=["within the bound", "beyond the bound"])
def test_an_hour_without_the_service(tmp_path, up, room):
    """Nothing is lost within the spool's bound; what exceeds it is the oldest, and people are told how much."""
    batches = [gauges([n]) for n in range(BATCHES)]
    size = max(len(wire.encode(tables)) for tables in batches)
    passed = [0.0]
    outbox = Outbox(
        Spool(tmp_path / "spool", "node1"),
        limit_bytes=room * size if room else 1 << 28,
        max_age_seconds=86400,
        write_after=0.0,
        clock=lambda: time.monotonic() + passed[0],
    )
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    for tables in batches:  # one every ten seconds
        outbox.append(wire.encode(tables))
        passed[0] += 10.0
    outbox.append(wire.encode(heartbeat(time.time_ns(), outbox.incarnation)))
    given_up = outbox.lost()
    assert (given_up > 0) == bool(room)
    service = up("--port", str(port))
    token = (tmp_path / "data" / "admin-token").read_text().strip()
    uplink = Uplink(outbox, "node1", connect(f"http://127.0.0.1:{port}", token))
    uplink.start()
    wait_until(lambda: outbox.size()[0] == 0, PATIENCE)
    headers = {"Authorization": f"Bearer {token}"}
    node = httpx2.get(f"{service.url}/api/v1/nodes/node1", headers=headers, trust_env=False).json()
    uplink.stop(1)
    outbox.close()
    assert service.end()[0] == 0
    assert node["lost_batches"] == given_up
    assert stored(tmp_path / "data") == (list(range(given_up, BATCHES)), given_up)
