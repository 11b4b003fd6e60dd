"""One host on a page of its own, in a real browser."""

import pytest
from hosts import measured, node
from mock_service import incident, now_ns, soon


@pytest.fixture
def known(service):
    """Let the service know a host, what it measured, and an incident that names it."""
    service.nodes = [node("node-2")]
    service.series["node-2"] = measured(now_ns())
    service.incidents["a1"] = incident("a1")
    return service


def open_node(open_page, service, address="node-2", **options):
    """Open the page of a host."""
    page = open_page(**options)
    page.locator("#board").wait_for()
    page.goto(f"{service.url}#/nodes/{address}")
    page.locator("#board").wait_for(state="hidden")
    return page


def test_a_hosts_devices_are_on_one_axis_of_time(open_page, known):
    """What moved is drawn, GPU before network; what did not is a figure; events stand above and in words below."""
    page = open_node(open_page, known)
    page.get_by_role("heading", name="node-2").wait_for()
    assert page.locator(".node-chart h3").all_text_contents() == [
        "gpu temperature2 devices, between 60 °C and 91 °C",
        "gpu sm clock2 devices, between 1.2 GHz and 1.98 GHz",
        "nic crc errors1 device, between 0 /s and 40 /s",
    ]
    assert page.locator(".still").inner_text().split("\n") == ["gpu pcie width", "16"]
    assert "xid 79 · gpu 1, rank 5" in page.locator(".events").inner_text()
    assert "<b>GPU has fallen off the bus</b>" in page.locator(".events").inner_text()
    assert "resnet: ranks 4, 5" in page.locator("#node").inner_text()
    assert page.locator("#node .similar a").first.get_attribute("href") == "#/incidents/a1"


def test_a_device_is_chosen(open_page, known):
    """Of a kind of device only its charts stay, and the others of the host go."""
    page = open_node(open_page, known)
    page.locator("#node-device").select_option("nic eth0")
    soon(lambda: page.locator(".node-chart").count() == 1)
    page.locator("#node-device").select_option("gpu 1")
    soon(lambda: page.locator(".node-chart").count() == 2)


def test_the_time_under_the_pointer_is_read(open_page, known):
    """One line goes through all charts at the same time, and the time is written."""
    page = open_node(open_page, known)
    page.locator(".node-chart canvas").first.hover(position={"x": 600, "y": 30})
    soon(lambda: page.locator(".reading").inner_text().count(":") == 2)


def test_an_incident_leads_to_its_host_at_that_time(open_page, known):
    """From an incident to the host at the time of the fault, and back by the browser's own way."""
    page = open_page()
    page.locator("#board").wait_for()
    page.goto(f"{known.url}#/incidents/a1")
    page.locator("#incident").get_by_role("link", name="node-2", exact=True).click()
    page.get_by_role("heading", name="node-2").wait_for()
    assert "?at=" in page.url
    page.go_back()
    page.locator("#incident h1").get_by_text("Slow computation").wait_for()
    assert page.locator("#node").is_hidden()


def test_what_is_not_there_is_said(open_page, known):
    """A host nobody heard of, one that measured nothing, and one whose name two agents claim."""
    known.nodes.append(node("bare", jobs={}, conflict={"taken": 1, "refused": 2, "at": now_ns()}))
    page = open_node(open_page, known, "nobody", refusals=True)
    page.get_by_text("No agent of a host nobody was heard.").wait_for()
    page.goto(f"{known.url}#/nodes/bare")
    page.get_by_text("Nothing was measured in this stretch").wait_for()
    page.get_by_text("Two agents report under this name").wait_for()
    page.get_by_text("None of the open and the lately ended.").wait_for()


def test_a_phone_shows_it_without_scrolling_sideways(open_page, known):
    """At 360 pixels nothing is wider than the screen."""
    page = open_node(open_page, known, viewport={"width": 360, "height": 740})
    page.locator(".node-chart").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
