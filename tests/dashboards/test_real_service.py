"""The dashboard on the real service: uvicorn, the API, an SQLite store with rows as the analyzer writes them."""

import threading
import time

import httpx2
import numpy as np
import pytest
from mock_service import soon

from offbeat import dashboards
from offbeat.api.app import create_app
from offbeat.api.serving import Server, listen_tcp, url_of
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity
from offbeat.settings import ServiceSettings
from offbeat.store import Beat, InProcessBus, JobRank, JobRow, LatenessWindow, Role, open_store

SECOND = 10**9
RANKS = np.arange(8, dtype=np.int32)


def finding(at, **more):
    """Return a slow rank found at *at* (ns)."""
    return Finding(
        id="slow.compute/3",
        fault=FaultClass.SLOW_COMPUTE,
        severity=Severity.CRITICAL,
        summary="Rank 3 computes 1.5 times as long as its peers.",
        advice=Advice(Action.ISOLATE_HOST, "The host is slow by itself."),
        culprits=Culprits(ranks=(3,), hosts=("b",)),
        victims=(0, 1, 2, 4, 5, 6, 7),
        evidence=(Evidence("own_time", "Own time 150 ms, before 100 ms.", {"now_ms": 150.0}),),
        slowdown=1.5,
        started_at=at - 5 * SECOND,
        detected_at=at,
        job="job-1",
        attempt=1_790_000_000,
        **more,
    )


class RealService:
    """A running service and its insides."""

    def __init__(self, directory):
        settings = ServiceSettings(data_dir=directory, listen="127.0.0.1", port=0)
        self.store = open_store(settings)
        self.bus = InProcessBus()
        self.app = create_app(self.store, self.bus, settings)
        listener = listen_tcp("127.0.0.1", 0)
        self.url = url_of(listener) + "/"
        self.server = Server(self.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()
        soon(lambda: self.server.started)
        self.start = time.time_ns() // SECOND * SECOND - 120 * SECOND

    def code(self, role):
        """Return a log-in code of a new token of *role*."""
        text, _ = self.store.tokens.create(role, note="test", who="test")
        return self.app.state.offbeat.sessions.code(self.store.tokens.verify(text))

    def write(self, late=None):
        """Write two minutes of a job, rank *late* 50 ms late in the last 30 s."""
        ranks = tuple(JobRank(rank, "abcd"[rank // 2]) for rank in range(8))
        now = self.start + 120 * SECOND
        self.store.jobs.upsert(
            JobRow(
                "job-1",
                1_790_000_000,
                "resnet",
                8,
                False,
                "running",
                self.start,
                now,
                SECOND // 10,
                tuple("abcd"),
                ranks,
            )
        )
        self.store.jobs.add_beats(
            "job-1", 1_790_000_000, [Beat(self.start + i * SECOND // 5, SECOND // 10) for i in range(600)]
        )
        for second in range(1, 121):
            lateness = np.full(8, 0.5e6, np.float32)
            if late is not None and second > 90:
                lateness[late] = 50e6
            window = LatenessWindow(self.start + second * SECOND, SECOND, RANKS, lateness, lateness * 4)
            self.store.jobs.add_lateness("job-1", 1_790_000_000, window)

    def close(self):
        """Stop the server and close the store."""
        self.server.should_exit = True
        self.thread.join()
        self.bus.close()
        self.store.close()


@pytest.fixture
def real(tmp_path):
    """Return a real service on an empty data directory."""
    service = RealService(tmp_path)
    yield service
    service.close()


def test_a_job_and_its_incident_live(open_page, real):
    """A job that the store knows is shown with its map; an incident comes by the stream and is acknowledged."""
    real.write(late=3)
    page = open_page(url=real.url, code=real.code(Role.OPERATOR))
    page.locator("#map[data-frame]").wait_for()
    assert "8 ranks on 4 hosts" in page.locator("#jobs li").inner_text()
    assert "most late now: rank 3, 50 ms" in page.locator("#facts").inner_text()
    page.locator("#link[data-state=live]").wait_for()
    page.get_by_text("None. Watching 8 ranks").wait_for()
    incident = real.store.incidents.apply(finding(time.time_ns()), time.time_ns())
    real.bus.publish("incidents", incident)
    card = page.locator(f"#incident-{incident.id}")
    card.get_by_text("rank 3 on b").wait_for()
    card.get_by_role("button", name="Acknowledge").click()
    card.get_by_text("acknowledged by").wait_for()
    card.get_by_role("button", name="Yes").click()
    card.get_by_text("Thank you, noted.").wait_for()
    assert real.store.incidents.feedbacks(incident.id)[0].right is True
    ended = time.time_ns()
    real.bus.publish("incidents", real.store.incidents.apply(finding(ended, ended_at=ended), ended))
    page.locator("#closed").get_by_text("rank 3 on b").wait_for()


def test_beats_and_windows_arrive_live(open_page, real):
    """New iterations and windows are drawn as they are written, without reload."""
    real.write()
    page = open_page(url=real.url, code=real.code(Role.VIEWER))
    page.locator("#map[data-frame]").wait_for()
    page.locator("#link[data-state=live]").wait_for()
    now = real.start + 121 * SECOND
    lateness = np.full(8, 0.5e6, np.float32)
    lateness[6] = 700e6
    real.store.jobs.add_lateness("job-1", 1_790_000_000, LatenessWindow(now, SECOND, RANKS, lateness, lateness))
    page.locator("#facts").get_by_text("most late now: rank 6, 700 ms").wait_for()
    real.bus.publish("beats", {"job": "job-1", "attempt": 1, "at": now, "iteration_ns": 800_000_000})
    soon(lambda: "0.8 at worst" in page.locator("#beat-words").inner_text())


def test_log_in_and_out(open_page, real):
    """A viewer's token logs in, logging out ends the session on the service, and a wrong token is told so."""
    text, _ = real.store.tokens.create(Role.VIEWER, note="test", who="test")
    page = open_page(url=real.url, code=None, refusals=True)
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("This token is not known").wait_for()
    page.get_by_label("Token").fill(text)
    page.keyboard.press("Enter")
    page.get_by_text("No agent has reported yet").wait_for()
    assert page.locator("#who").inner_text() == "logged in as viewer"
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Token").wait_for()
    page.reload()
    page.get_by_label("Token").wait_for()


def test_every_file_has_the_headers(real):
    """Page, scripts and styles come with the policy, and nothing beside them is served."""
    with httpx2.Client(base_url=real.url) as client:
        for path in ("", "style.css", "js/app.js", "favicon.svg"):
            answer = client.get(path)
            assert answer.status_code == 200
            for name, value in dashboards.HEADERS.items():
                assert answer.headers[name] == value
        assert client.get("../__init__.py").status_code == 404
