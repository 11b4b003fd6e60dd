"""One incident on a page of its own, in a real browser."""

import json
from pathlib import Path

import pytest
from mock_service import CODE, TOKEN, Job, finding, incident, now_ns, soon

from offbeat import faults
from offbeat.model import Evidence, FaultClass

SECOND = 10**9
COST = Evidence("cost", "37 % of the job's time is lost to it.", {"share": 0.37, "gpu_hours_per_hour": 2.96})
OWN = Evidence("own_time", "Own time 296 ms, before 187 ms.", {"before_ms": 187.2, "now_ms": 296.4})


@pytest.fixture
def known(service):
    """Let the service know an incident with a cost and a history, and two of the same class."""
    service.incidents["a1"] = incident("a1", value=finding(evidence=(OWN, COST)))
    for id_, hosts, job in (("b2", ("node-9",), "bert"), ("c3", ("node-2",), "bert")):
        value = finding(started_at=now_ns() - 86_400 * SECOND, hosts=hosts, ranks=(4,))
        service.incidents[id_] = incident(id_, job=job, state="resolved", value=value, ended_at=now_ns())
    service.histories["a1"] = [
        {"at": now_ns(), "kind": "opened", "who": None, "text": "opened as critical: rank 5, host node-2"},
        {"at": now_ns(), "kind": "acknowledged", "who": "tok_ann", "text": "acknowledged"},
    ]
    service.accuracy = [{"class": "slow.compute", "right": 12, "wrong": 1}]
    return service


def open_incident(open_page, service, id_="a1", **options):
    """Open the page of an incident, as the link of an alert does."""
    page = open_page(**options)
    page.locator("#board").wait_for()
    page.goto(f"{service.url}#/incidents/{id_}")
    page.locator("#board").wait_for(state="hidden")
    return page


def test_the_page_tells_an_operator_what_to_do(open_page, known):
    """Verdict, culprit, advice, runbook, cost, evidence with bars, victims, history, similar ones, accuracy."""
    page = open_incident(open_page, known)
    page.get_by_text("Of 13 judged findings of this class 12 were right (92 %).").wait_for()
    text = page.locator("#incident").inner_text()
    for words in (
        "Slow computation",
        "Rank 5 on node-2 needs 1.6 times as long",
        "rank 5 on node-2",
        "Take the host out of service:",
        "2.96 GPU-hours an hour",
        "Own time 296 ms, before 187 ms.",
        "7 ranks wait on it and are not accused: 0\u20134, 6, 7",
        "by tok_ann",
    ):
        assert words in text
    assert page.locator(".bars dd").all_inner_texts() == ["187 ms", "296 ms"]
    assert page.locator(".runbook-link").get_attribute("href") == faults.runbook("slow.compute")
    assert page.locator(".similar a").first.get_attribute("href") == "#/incidents/c3"
    assert "same node-2" in page.locator(".similar li").first.inner_text()
    assert "Slow computation: resnet" in page.title()


def test_the_charts_show_the_accused_beside_the_others(open_page, known):
    """Around the fault's beginning: the iterations got longer, and rank 5 alone came late."""
    page = open_incident(open_page, known)
    page.get_by_text("Solid: rank 5, up to 12").wait_for()
    assert "Dashed: the median of the others" in page.locator("#around-late").inner_text()
    assert page.locator("#around-beat").inner_text().startswith("An iteration takes 0.1")
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"
    assert page.locator("canvas.late").evaluate(drawn)


def test_an_operator_takes_it_on_ends_it_and_judges(open_page, known):
    """Acknowledge at once; resolve asks for a reason first; the judgement carries the note."""
    page = open_incident(open_page, known)
    page.get_by_role("button", name="Acknowledge").click()
    page.locator(".status").get_by_text("acknowledged").wait_for()
    page.get_by_label("Was this finding right?").fill("the fan")
    page.get_by_role("button", name="Wrong").click()
    page.get_by_text("Noted: wrong.").wait_for()
    page.get_by_role("button", name="Resolve…").click()
    assert [verb for verb, _ in known.feedback] == ["acknowledge", "feedback"]
    page.keyboard.type("new fan")
    page.keyboard.press("Enter")
    page.locator(".status").get_by_text("resolved").wait_for()
    assert known.feedback[1:] == [("feedback", {"right": False, "note": "the fan"}), ("resolve", {"why": "new fan"})]
    assert page.get_by_role("button", name="Resolve…").is_hidden()


def test_escape_takes_the_question_back(open_page, known):
    """Nothing is resolved by a question that was left, and the focus returns to where it came from."""
    page = open_incident(open_page, known)
    page.get_by_role("button", name="Resolve…").click()
    page.keyboard.press("Escape")
    assert page.locator(".ask").is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Resolve…"
    assert known.feedback == []


def test_a_viewer_only_looks(open_page, known):
    """A viewer has no button that the service would refuse, and is told who has."""
    known.role = "viewer"
    page = open_incident(open_page, known)
    page.get_by_text("Your token may only look.").wait_for()
    for name in ("Acknowledge", "Resolve…", "Right", "Wrong"):
        assert page.get_by_role("button", name=name, exact=True).is_hidden()


def test_a_change_is_on_the_page_without_reload(open_page, known):
    """What the event stream brings changes the page; figures that a person unfolded stay so."""
    page = open_incident(open_page, known)
    page.get_by_text("Figures (2)").first.click()
    soon(lambda: known.streams)
    more = finding(evidence=(OWN, COST, Evidence("psi", "No CPU pressure on the host.", {})))
    known.push("incident", incident("a1", value=more, state="acknowledged", revision=2))
    page.locator("#incident").get_by_text("No CPU pressure on the host.").wait_for()
    assert page.locator(".evidence details").first.get_attribute("open") is not None
    assert "acknowledged" in page.locator(".status").inner_text()


def test_the_link_of_an_alert_survives_the_login(open_page, known):
    """Who is asked for a token first lands on the incident all the same, and back leads to the overview."""
    page = open_page(code=None, refusals=True)
    page.goto(f"{known.url}#/incidents/a1")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_text("Of 13 judged").wait_for()
    assert page.locator("#board").is_hidden()
    page.get_by_role("link", name="All incidents").click()
    page.locator("#open #incident-a1").wait_for()
    assert page.locator("#incident").is_hidden()
    page.locator("#incident-a1 h2 a").click()
    page.get_by_text("Of 13 judged").wait_for()


@pytest.mark.parametrize("id_", ["none", "%E0%A4%A", "..%2Fjobs"])
def test_an_incident_that_is_not_there_is_said(open_page, known, id_):
    """The page says so, whatever the address holds, and leads back."""
    page = open_incident(open_page, known, id_, refusals=True)
    page.get_by_text("There is no incident").wait_for()
    assert page.get_by_role("link", name="All incidents").is_visible()


def test_a_job_that_is_forgotten_leaves_the_finding(open_page, known):
    """Without the job's series the page still has verdict and evidence, and says what is not kept."""
    known.incidents["d4"] = incident("d4", job="gone", value=finding(victims=(), evidence=()))
    page = open_incident(open_page, known, "d4", refusals=True)
    page.get_by_text("No lateness is kept of that time.").wait_for()
    page.get_by_text("This finding came without evidence.").wait_for()
    page.get_by_text("No iteration was seen in this stretch.").wait_for()


def test_show_on_the_map_goes_to_the_job(open_page, known):
    """From the incident to its job's lateness at that time."""
    known.add(Job("bert", seed=3))
    page = open_incident(open_page, known, "c3")
    page.get_by_role("button", name="Show on the map").click()
    page.locator("#detail-title").get_by_text("bert").wait_for()
    assert page.locator("#incident").is_hidden()


def test_nothing_moves_once_it_is_read(open_page, known):
    """What comes later (charts, history) takes the place that was kept for it: buttons do not run away."""
    page = open_page()
    page.locator("#board").wait_for()
    page.evaluate(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach("
        "e => { window.shift += e.hadRecentInput ? 0 : e.value })).observe({type: 'layout-shift', buffered: false})"
    )
    page.goto(f"{known.url}#/incidents/a1")
    page.get_by_text("Of 13 judged").wait_for()
    top = page.get_by_role("button", name="Acknowledge").bounding_box()["y"]
    page.wait_for_function("document.querySelector('#around-late').textContent.startsWith('Solid')")
    assert page.get_by_role("button", name="Acknowledge").bounding_box()["y"] == top
    # 0.1 is what Web Vitals call good.
    assert page.evaluate("window.shift") < 0.1


def test_a_phone_shows_it_without_scrolling_sideways(open_page, known):
    """At 360 pixels nothing is wider than the screen."""
    page = open_incident(open_page, known, viewport={"width": 360, "height": 740})
    page.get_by_text("Of 13 judged").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_every_class_has_a_page(open_page, service, tmp_path):
    """Each class has its title, advice and runbook from the registry on its page, and the page fits a phone."""
    for n, fault in enumerate(FaultClass):
        service.incidents[f"i{n}"] = incident(f"i{n}", value=finding(fault, id=f"f{n}"))
    page = open_page(viewport={"width": 390, "height": 844})
    page.locator("#board").wait_for()
    for n, fault in enumerate(FaultClass):
        words = faults.FAULTS[fault]
        page.goto(f"{service.url}#/incidents/i{n}")
        page.locator("#incident h1").get_by_text(words.title, exact=True).wait_for()
        assert page.locator("#incident h1").get_attribute("title") == words.meaning
        assert page.locator(".runbook-link").get_attribute("href") == faults.runbook(fault)
        assert words.advice in page.locator("section.todo").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.screenshot(path=tmp_path / f"{fault}.png").startswith(b"\x89PNG")


def test_bars_are_those_of_the_terminal(modules):
    """Page and terminal draw the same bars of the same figures."""
    cases = json.loads((Path(__file__).parents[1] / "figures.json").read_text(encoding="utf-8"))
    for case in cases:
        drawn = modules.evaluate(
            "data => import('./js/figures.js')"
            ".then(m => m.bars(data).map(b => [b.name, +b.length.toFixed(3), b.text]))",
            case["data"],
        )
        assert drawn == case["bars"], case["what"]


def test_links_and_devices_are_accused_by_their_ranks(modules):
    """Where no rank is named, the lateness of the latest rank is drawn, and nobody is left out of the median."""
    got = modules.evaluate(
        "import('./js/incident_charts.js').then(m => m.series({times: [1, 2], ranks: new Int32Array([0, 1, 2]),"
        " values: new Float32Array([1, 2, 9, 1, NaN, 3])}, new Set([2])).map(p => [p.at, p.accused, p.others]))"
    )
    assert got == [[1, 9, 2], [2, 3, 1]]
    nobody = modules.evaluate(
        "import('./js/incident_charts.js').then(m => m.series({times: [1], ranks: new Int32Array([0, 1, 2]),"
        " values: new Float32Array([1, 2, 9])}, new Set()).map(p => [p.accused, p.others]))"
    )
    assert nobody == [[9, 2]]


def test_a_code_is_no_route(open_page, known):
    """The one-time code still logs in, and leaves the address."""
    page = open_page(code=CODE)
    page.locator("#board").wait_for()
    assert "login" not in page.url
