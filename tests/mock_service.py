"""A service with the API's JSON shapes and no analysis: says what a test tells it to say, live if wanted."""

from __future__ import annotations

import functools
import json
import math
import queue
import struct
import threading
import time
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from support import wait_until

from offbeat import dashboards
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity

TOKEN = "obt_operator_of_the_tests"
CODE = "one-time-code"
soon = functools.partial(wait_until, timeout=30.0)
"""`wait_until` with the patience that a browser on a busy machine needs."""
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


def now_ns():
    """Return the time as the API writes it."""
    return time.time_ns()


def finding(fault=FaultClass.SLOW_COMPUTE, severity=Severity.CRITICAL, ranks=(5,), hosts=("node-2",), **more):
    """Return a finding with everything that a page can show."""
    started = more.pop("started_at", now_ns() - 42 * 10**9)
    return Finding(
        id=more.pop("id", "slow.compute/5"),
        fault=fault,
        severity=severity,
        summary=more.pop(
            "summary", "Rank 5 on node-2 needs 1.6 times as long between collectives as ranks of its role."
        ),
        advice=Advice(Action.ISOLATE_HOST, "its host is slower than before, and its peers are not"),
        culprits=Culprits(ranks=ranks, hosts=hosts, **more.pop("culprits", {})),
        victims=more.pop("victims", (0, 1, 2, 3, 4, 6, 7)),
        evidence=more.pop(
            "evidence",
            (
                Evidence(
                    "own_time",
                    "Own time 296 ms an iteration; before the change it was 187 ms.",
                    {"before_ms": 187.2, "now_ms": 296.4, "iterations": 24},
                ),
                Evidence("peers", "The 7 other ranks of the role stayed at 185 to 190 ms.", {"median_ms": 187.9}),
            ),
        ),
        slowdown=1.58,
        confidence=0.97,
        started_at=started,
        detected_at=started + 6_200_000_000,
        **more,
    )


def incident(id_, job="resnet", state="open", value=None, **more):
    """Return an incident's JSON around a finding."""
    value = value or finding()
    return {
        "id": id_,
        "job": job,
        "attempt": 0,
        "class": str(value.fault),
        "severity": str(value.severity),
        "state": state,
        "opened_at": value.detected_at,
        "detected_at": value.detected_at,
        "ended_at": None,
        "acknowledged_by": None,
        "revision": 1,
        "finding": value.to_dict(),
    } | more


class Job:
    """One job: its beat and its lateness, one window a second."""

    def __init__(self, name, world=8, per_host=2, iteration=0.187, windows=300, late=None, seed=1, hosts=None):
        self.name, self.world, self.iteration = name, world, iteration
        self.hosts = hosts or [f"node-{i}" for i in range(math.ceil(world / per_host))]
        self.per_host, self.late = per_host, late or {}
        self.state, self.simulated = "running", False
        self.unplaced = set()
        self.random = np.random.default_rng(seed)
        self.times, self.rows, self.beats = [], [], []
        now = now_ns() // 10**9
        self.clock = (now - windows) * 10**9
        for at in range(now - windows + 1, now + 1):
            self.tick(at * 10**9)

    def tick(self, at):
        """Add the window that ends at *at*: small noise, and what `late` says (rank → ms since seconds ago)."""
        noise = self.random.random
        row = (0.4 + 1.6 * noise(self.world) ** 2).astype("<f4")
        extra = 0.0
        for rank, (ms, since) in self.late.items():
            if at >= since:
                row[rank] = ms * (0.85 + 0.3 * noise())
                extra = max(extra, ms / 1000)
        self.times.append(at)
        self.rows.append(row)
        step = self.iteration + extra
        while self.clock + step * 1e9 <= at:
            self.clock += int(step * 1e9)
            self.beats.append({"at": self.clock, "iteration_seconds": step * (0.985 + 0.03 * noise())})

    def summary(self):
        """Return the job as the list has it."""
        return {
            "id": self.name,
            "name": self.name,
            "attempt": 0,
            "world": self.world,
            "hosts": self.hosts,
            "simulated": self.simulated,
            "state": self.state,
            "first_seen": self.times[0],
            "last_seen": self.times[-1],
            "iteration_seconds": self.beats[-1]["iteration_seconds"],
            "open_incidents": 0,
        }

    def detail(self):
        """Return the job as its own page has it."""
        ranks = [
            {"rank": r, "host": self.hosts[r // self.per_host]} for r in range(self.world) if r not in self.unplaced
        ]
        return self.summary() | {"ranks": ranks}

    def lateness(self, since, until):
        """Return the octet-stream form of the windows in [since, until]."""
        chosen = [i for i, at in enumerate(self.times) if since <= at <= until]
        head = struct.pack("<II", len(chosen), self.world)
        times = array("q", (self.times[i] for i in chosen)).tobytes()
        return head + times + array("i", range(self.world)).tobytes() + b"".join(self.rows[i].tobytes() for i in chosen)


class MockService:
    """The service: set `jobs`, `incidents`, `nodes`; `push` sends an event to every open page."""

    def __init__(self):
        self.jobs, self.incidents, self.nodes = {}, {}, []
        self.role = "operator"
        self.codes = {CODE}
        self.streams: list[queue.Queue] = []
        self.feedback: list[tuple[str, dict]] = []
        self.histories: dict[str, list[dict]] = {}
        self.accuracy: list[dict] = []
        self.series: dict[str, dict] = {}
        self.delays: list[dict] = []
        self.communicators: list[dict] = []
        self.accepting = True
        service = self

        class Handler(_Handler):
            mock = service

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, job):
        """Take *job* in and return it."""
        self.jobs[job.name] = job
        return job

    def push(self, event, data):
        """Send an event to all pages."""
        if event == "incident":
            self.incidents[data["id"]] = data
        for stream in list(self.streams):
            stream.put((event, data))

    def drop_streams(self, *, accepting):
        """Break all open streams; new ones are taken only if *accepting*."""
        self.accepting = accepting
        for stream in list(self.streams):
            stream.put(None)

    def close(self):
        """Stop."""
        self.drop_streams(accepting=False)
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mock: MockService
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Keep the test's output clean."""

    def do_GET(self):
        url = urlsplit(self.path)
        if not url.path.startswith("/api/v1/"):
            self.file(url.path)
        elif self.allowed():
            self.read([unquote(part) for part in url.path.removeprefix("/api/v1/").split("/")], parse_qs(url.query))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        parts = self.path.removeprefix("/api/v1/").split("/")
        if parts == ["session"]:
            self.log_in(body)
        elif self.headers.get("Offbeat-Request") != "1":
            self.problem(403, "calls with a cookie that change something need the header Offbeat-Request")
        elif self.allowed() and parts[0] == "incidents":
            self.act(parts[1], parts[2], body)

    def do_DELETE(self):
        self.reply(204, b"", "application/json", {"Set-Cookie": "offbeat_session=; Max-Age=0; Path=/"})

    def log_in(self, body):
        if body.get("code") in self.mock.codes:
            self.mock.codes.discard(body["code"])
        elif body.get("token") != TOKEN:
            self.problem(401, "token not known")
            return
        self.json({"role": self.mock.role}, {"Set-Cookie": "offbeat_session=yes; HttpOnly; SameSite=Strict; Path=/"})

    def act(self, id_, verb, body):
        if self.mock.role == "viewer":
            self.problem(403, "role viewer may not")
            return
        found = self.mock.incidents[id_]
        self.mock.feedback.append((verb, body))
        if verb == "feedback":
            self.json({"incident": id_, "at": now_ns(), "note": "", "who": "operator of the tests"} | body)
            return
        if verb == "acknowledge":
            found |= {"state": "acknowledged", "acknowledged_by": "operator of the tests"}
        else:
            found |= {"state": "resolved", "ended_at": now_ns(), "resolved_by": "operator of the tests"}
        found["revision"] = found.get("revision", 1) + 1
        self.json(found)

    def allowed(self):
        if "offbeat_session=yes" in (self.headers.get("Cookie") or ""):
            return True
        self.problem(401, "log in first")
        return False

    def read(self, parts, query):
        since, until = (int(query.get(name, [default])[0]) for name, default in (("since", 0), ("until", 2**62)))
        match parts:
            case ["session"]:
                self.json({"role": self.mock.role})
            case ["jobs"]:
                self.json({"items": [job.summary() for job in self.mock.jobs.values()], "next": None})
            case ["jobs", id_, *rest]:
                self.read_job(self.mock.jobs.get(id_), rest, since, until)
            case ["incidents", *rest]:
                self.read_incidents(rest, query)
            case ["accuracy"]:
                self.json({"items": self.mock.accuracy, "next": None})
            case ["nodes", *rest]:
                self.read_nodes(rest, since, until)
            case _:
                self.problem(404, "not found")

    def read_job(self, job, parts, since, until):
        match parts:
            case _ if job is None:
                self.problem(404, "no such job")
            case []:
                self.json(job.detail())
            case ["beat"]:
                self.json({"items": [point for point in job.beats if since <= point["at"] <= until]})
            case ["lateness"]:
                self.reply(200, job.lateness(since, until), "application/octet-stream")
            case ["delays"]:
                self.json({"hosts": job.hosts, "paths": self.mock.delays, "since": 0, "now_since": 0, "until": 0})
            case ["communicators"]:
                self.json({"items": self.mock.communicators, "next": None})
            case _:
                self.problem(404, "not found")

    def read_nodes(self, parts, since, until):
        named = {node["host"]: node for node in self.mock.nodes}
        match parts:
            case []:
                self.json({"items": self.mock.nodes, "next": None})
            case [host] if host in named:
                self.json(named[host])
            case [host, "series"] if host in named:
                self.json(self.mock.series.get(host, {"series": [], "events": []}) | {"since": since, "until": until})
            case _:
                self.problem(404, "not found")

    def read_incidents(self, parts, query):
        match parts:
            case []:
                wanted, fault = query.get("state", []), query.get("class", [None])[0]
                items = [i for i in self.mock.incidents.values() if not wanted or i["state"] in wanted]
                self.json({"items": [i for i in items if fault in {None, i["class"]}], "next": None})
            case ["stream"]:
                self.stream()
            case [id_] if id_ in self.mock.incidents:
                self.json(self.mock.incidents[id_])
            case [id_, "history"]:
                self.json({"items": self.mock.histories.get(id_, []), "next": None})
            case _:
                self.problem(404, "not found")

    def stream(self):
        if not self.mock.accepting:
            self.problem(503, "starting")
            return
        events = queue.Queue()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(b": welcome\n\n")
            self.wfile.flush()
            self.mock.streams.append(events)
            while (item := events.get()) is not None:
                event, data = item
                self.wfile.write(f"event: {event}\nid: {now_ns()}\ndata: {json.dumps(data)}\n\n".encode())
                self.wfile.flush()
        except OSError:
            pass  # the page went away
        finally:
            if events in self.mock.streams:
                self.mock.streams.remove(events)

    def file(self, path):
        name = path.lstrip("/") or "index.html"
        target = dashboards.SHARED.get(name, dashboards.WEB / name)
        inside = name in dashboards.SHARED or dashboards.WEB.resolve() in target.resolve().parents
        if not inside or not target.is_file():
            self.problem(404, "not found")
            return
        self.reply(200, target.read_bytes(), TYPES[target.suffix], dashboards.HEADERS)

    def json(self, value, headers=None):
        self.reply(200, json.dumps(value).encode(), "application/json", headers)

    def problem(self, status, title):
        body = json.dumps({"type": "about:blank", "status": status, "title": title}).encode()
        self.reply(status, body, "application/problem+json")

    def reply(self, status, body, type_, headers=None):
        try:
            self.send_response(status)
            for name, value in ({"Content-Type": type_, "Content-Length": len(body)} | (headers or {})).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the page went away
