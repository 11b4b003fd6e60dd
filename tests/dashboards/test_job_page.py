"""What a job is made of, in a real browser."""

import pytest
from hosts import path
from mock_service import Job, incident


@pytest.fixture
def known(service):
    """Let the service know paths between four hosts, one of them slow, and communicators."""
    names = [f"node-{n}" for n in range(4)]
    service.delays = [
        path(a, b, 41_000.0 if (a, b) == ("node-1", "node-2") else 1000.0) for a in names for b in names if a != b
    ]
    service.communicators = [
        {"comm": "c0", "name": "default_pg", "n_ranks": 8, "ranks": list(range(8))},
        {"comm": "c1", "name": None, "n_ranks": 4, "ranks": [0, 2, 4]},
    ]
    service.incidents["a1"] = incident("a1")
    return service


def open_job(open_page, service, id_="resnet", **options):
    """Open the page of a job."""
    page = open_page(**options)
    page.locator("#board").wait_for()
    page.goto(f"{service.url}#/jobs/{id_}")
    page.locator("#board").wait_for(state="hidden")
    return page


def test_a_hot_cell_stands_out_by_its_figure(open_page, known):
    """The slow path says how many times its usual it takes, in its cell, and no other does."""
    page = open_job(open_page, known)
    page.locator(".delay").wait_for()
    assert page.locator(".delay b").all_inner_texts() == ["41 \u00d7"]
    row = page.locator(".delay tbody tr", has=page.locator("th", has_text="node-1"))
    assert row.locator("td").nth(2).inner_text() == "41 ms\n41 \u00d7"
    assert "usually 1 ms" in row.locator("td").nth(2).get_attribute("title")
    colours = page.locator(".delay td").evaluate_all(
        "cells => new Set(cells.map(c => getComputedStyle(c).backgroundColor)).size"
    )
    assert colours == 2


def test_communicators_are_listed(open_page, known):
    """Each with its name or, without one, its id, and who did not tell of it."""
    page = open_job(open_page, known)
    rows = page.locator(".groups tbody tr")
    rows.first.wait_for()
    assert rows.all_inner_texts() == ["default_pg\t8\t0\u20137", "c1\t4\t0, 2, 4 (1 did not tell)"]


def test_many_hosts_are_a_list_of_the_paths_that_grew_most(open_page, known):
    """Of 30 hosts not every pair is a cell; the slow path is the first line."""
    names = [f"h{n:02}" for n in range(30)]
    known.delays = [path(names[n], names[n - 1], 9000.0 if n == 17 else 1100.0) for n in range(30)]
    page = open_job(open_page, known)
    assert page.locator(".paths tbody tr").first.inner_text().split("\t")[:5] == ["h17", "h16", "9 ms", "1 ms", "9"]


def test_the_way_there_and_back(open_page, known):
    """From the overview to the job's page, to its incident, and back to the beat of that job."""
    known.add(Job("bert", seed=4))
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    page.get_by_role("link", name="Paths and communicators").click()
    page.locator("#job h1").get_by_text("resnet").wait_for()
    page.locator("#job").get_by_role("link", name="Slow computation").click()
    page.locator("#incident h1").wait_for()
    page.goto(f"{known.url}#/jobs/bert")
    page.locator("#job h1").get_by_text("bert").wait_for()
    page.get_by_role("link", name="Beat and lateness").click()
    page.locator("#detail-title").get_by_text("bert").wait_for()


def test_what_is_not_there_is_said(open_page, known):
    """A job that nobody knows, and one of which nothing is measured."""
    known.delays, known.communicators = [], []
    page = open_job(open_page, known, "none", refusals=True)
    page.get_by_text("There is no job none.").wait_for()
    page.goto(f"{known.url}#/jobs/resnet")
    page.get_by_text("No connection between hosts carries this job now").wait_for()
    page.get_by_text("No rank has told of a communicator.").wait_for()


def test_a_phone_shows_it_without_scrolling_sideways(open_page, known):
    """At 360 pixels the matrix scrolls in its own box, the page does not."""
    page = open_job(open_page, known, viewport={"width": 360, "height": 740})
    page.locator(".delay").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
