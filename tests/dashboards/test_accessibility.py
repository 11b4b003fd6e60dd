"""What axe-core finds on the pages, and how much they weigh."""

import sys
from importlib.resources import files

import pytest
from hosts import measured, node, path
from mock_service import finding, incident, now_ns

from offbeat import dashboards
from offbeat.model import Evidence

LIMIT = 400_000
"""Bytes of the first page before data, uncompressed: what a phone in a cellar has to load."""
PAGES = ("login", "overview", "map as table", "incident", "viewer", "missing", "node", "job", "runbook")


@pytest.fixture(scope="session")
def axe():
    """Give axe-core's program, or skip where it is not installed."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed (extra test)")
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def show(open_page, service, name, scheme):
    """Return a page of the dashboard, ready."""
    service.incidents["a1"] = incident(
        "a1", value=finding(evidence=(*finding().evidence, Evidence("cost", "8 GPUs.", {"gpu_hours": 1.5})))
    )
    service.incidents["b2"] = incident("b2", state="resolved", ended_at=now_ns())
    service.histories["a1"] = [{"at": now_ns(), "kind": "opened", "who": None, "text": "opened as critical"}]
    service.role = "viewer" if name == "viewer" else "operator"
    page = open_page(code=None if name == "login" else "one-time-code", refusals=True, color_scheme=scheme)
    if name == "login":
        page.get_by_label("Token").wait_for()
    elif name == "runbook":
        page.locator("#board").wait_for()
        page.goto(f"{service.url}runbook/slow.html#slowcompute")
    elif name in {"incident", "viewer"}:
        page.goto(f"{service.url}#/incidents/a1")
        page.get_by_text("Nobody has judged").wait_for()
    elif name == "node":
        service.nodes, service.series["node-2"] = [node("node-2")], measured(now_ns())
        page.locator("#board").wait_for()
        page.goto(f"{service.url}#/nodes/node-2")
        page.locator(".node-chart").first.wait_for()
    elif name == "job":
        service.delays = [path("node-0", "node-1", 9000.0), path("node-1", "node-0", 1000.0)]
        service.communicators = [{"comm": "c0", "name": None, "n_ranks": 2, "ranks": [0, 1]}]
        page.locator("#board").wait_for()
        page.goto(f"{service.url}#/jobs/resnet")
        page.locator(".delay").wait_for()
    elif name == "missing":
        page.goto(f"{service.url}#/incidents/none")
        page.get_by_text("There is no incident").wait_for()
    else:
        page.locator("#map[data-frame]").wait_for()
        page.locator("#incident-a1").wait_for()
        if name == "map as table":
            page.get_by_role("button", name="As table").click()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(open_page, service, axe, name, scheme):
    """No violation of WCAG 2 A and AA or of good practice, in either scheme: names, order, contrast, landmarks."""
    page = show(open_page, service, name, scheme)
    page.evaluate(axe)
    found = page.evaluate(
        "axe.run().then(result => result.violations.map(v => [v.id, v.nodes.map(n => n.target.join(' '))]))"
    )
    assert found == []


def test_the_first_page_is_light(open_page, service, capsys):
    """All that is loaded before data, scripts, styles and words, stays below the limit."""
    weights = {}
    page = open_page(code=None, refusals=True)
    page.get_by_label("Token").wait_for()
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname.slice(1))"
    )
    for name in {"index.html", *(file for file in loaded if not file.startswith("api/"))}:
        weights[name] = dashboards.SHARED.get(name, dashboards.WEB / name).stat().st_size
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:3]
    told = f"{sum(weights.values()) / 1000:.0f} kB in {len(weights)} files before compression; the heaviest {heaviest}"
    with capsys.disabled():
        sys.stdout.write(f"\nthe page weighs {told}\n")
    assert {"js/app.js", "js/incident_page.js", "faults.json", "style.css", "incident.css"} <= set(weights)
    assert sum(weights.values()) <= LIMIT
