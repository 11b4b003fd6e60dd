"""The dashboard's first page, in a real browser."""

import re

import pytest
from mock_service import TOKEN, Job, finding, incident, now_ns, soon

from offbeat import dashboards
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Link, Severity


def test_shows_jobs_with_their_beat(open_page, service):
    """Each job has its name, size, state, iteration time and a line of its beat."""
    service.add(Job("bert", world=64, per_host=8, iteration=0.42))
    page = open_page()
    rows = page.locator("#jobs li")
    rows.nth(1).wait_for()
    assert rows.filter(has_text="resnet").inner_text().split("\n")[0] == "resnet"
    bert = rows.filter(has_text="bert")
    assert "64 ranks on 8 hosts" in bert.inner_text()
    assert re.search(r"4[12]\d ms", bert.inner_text())
    assert "on the beat" in bert.inner_text()
    soon(lambda: len(bert.locator(".line").get_attribute("points").split()) > 20)


def test_an_incident_appears_without_reload(open_page, service):
    """What the event stream brings is on the page at once, with class, culprit, time, advice and evidence."""
    page = open_page()
    page.get_by_text("None. Watching 8 ranks on 4 hosts in 1 job.").wait_for()
    soon(lambda: service.streams)
    page.evaluate("window.sameDocument = true")
    service.push("incident", incident("a1"))
    card = page.locator("#incident-a1")
    card.wait_for()
    text = card.inner_text()
    for words in ("CRITICAL", "Slow computation", "slow.compute", "rank 5 on node-2", "found after 6.2 s"):
        assert words in text
    assert "Take the host out of service:" in text
    assert "7 ranks waiting on it: 0\u20134, 6, 7" in text
    assert page.title() == "(1) Offbeat"
    card.get_by_text("Evidence (2)").click()
    card.get_by_text("Own time 296 ms an iteration").wait_for()
    assert card.locator("dd").first.inner_text() == "187"
    assert page.evaluate("window.sameDocument") is True


def test_a_culprits_host_is_looked_up(open_page, service):
    """Where a finding names ranks alone, the page adds where they run: that is where a person has to go."""
    service.add(Job("other", seed=2))
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    soon(lambda: service.streams)
    service.push("incident", incident("a1", job="other", value=finding(ranks=(3, 6), hosts=())))
    page.locator("#incident-a1").get_by_text("ranks 3, 6 on hosts node-1, node-3").wait_for()


def test_hosts_that_come_late_are_shown(open_page, service):
    """Of a job that just starts not all ranks' hosts are known; they are asked for until they are."""
    service.jobs["resnet"].unplaced = {4, 5}
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    page.get_by_role("button", name="As table").click()
    late = page.locator("#table-rows tr").first.locator("td").first
    assert late.inner_text() == "\u2013"
    service.jobs["resnet"].unplaced = set()
    soon(lambda: late.inner_text() == "node-2")


def test_a_resolved_incident_moves_below(open_page, service):
    """When an incident ends it leaves the open ones and is listed as resolved, still with its evidence."""
    service.incidents["a1"] = incident("a1")
    page = open_page()
    page.locator("#open #incident-a1").wait_for()
    soon(lambda: service.streams)
    service.push("incident", incident("a1", state="resolved", ended_at=now_ns()))
    page.locator("#closed #incident-a1").wait_for()
    assert page.locator("#open li.card").count() == 0
    assert "to" in page.locator("#closed .when").inner_text()


def test_an_open_detail_survives_updates(open_page, service):
    """Evidence that a person has opened stays open, and focus stays, when the same incident changes."""
    service.incidents["a1"] = incident("a1")
    page = open_page()
    page.get_by_text("Evidence (2)").click()
    soon(lambda: service.streams)
    more = finding(evidence=(*finding().evidence, Evidence("psi", "No CPU pressure on the host.", {})))
    service.push("incident", incident("a1", value=more))
    page.get_by_text("Evidence (3)").wait_for()
    assert page.locator("#incident-a1 details").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.textContent") == "Evidence (3)"


def test_an_operator_acknowledges(open_page, service):
    """Acknowledge tells the service, and the card says who did."""
    service.incidents["a1"] = incident("a1")
    page = open_page()
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("acknowledged by operator of the tests").wait_for()
    assert page.get_by_role("button", name="Acknowledge").is_hidden()
    page.get_by_role("button", name="Yes").click()
    page.get_by_text("Thank you, noted.").wait_for()
    assert service.feedback[-1] == ("feedback", {"right": True, "note": ""})


def test_a_viewer_only_looks(open_page, service):
    """A viewer sees the incident and no button that the service would refuse."""
    service.role = "viewer"
    service.incidents["a1"] = incident("a1")
    page = open_page()
    page.locator("#incident-a1").wait_for()
    assert page.get_by_role("button", name="Acknowledge").is_hidden()
    assert page.get_by_text("Was this right?").is_hidden()


def test_the_code_leaves_the_address(open_page):
    """The one-time code is taken out of the address bar, so that no bookmark or history keeps it."""
    page = open_page()
    page.locator("#board").wait_for()
    assert "login" not in page.url


def test_a_token_logs_in(open_page):
    """Without a code the page asks for a token, says when it is wrong, and goes on when it is right."""
    page = open_page(code=None, refusals=True)
    page.get_by_label("Token").fill("ob_wrong")
    page.keyboard.press("Enter")
    page.get_by_text("This token is not known").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.locator("#jobs li").first.wait_for()


def test_a_used_code_asks_for_a_token(open_page):
    """A one-time code that was used before leads to the login form, which says so."""
    page = open_page(code="used-before", refusals=True)
    page.get_by_text("This address was used before").wait_for()
    assert page.get_by_label("Token").is_visible()


def test_reconnects_by_itself(open_page, service):
    """A broken stream is said in words, taken up again, and what happened meanwhile is read."""
    page = open_page(refusals=True)
    page.locator("#link[data-state=live]").wait_for()
    service.drop_streams(accepting=False)
    page.locator("#link[data-state=waiting]").wait_for()
    assert page.locator("#link-word").inner_text().startswith("reconnecting")
    service.incidents["a1"] = incident("a1")
    service.accepting = True
    page.locator("#link[data-state=live]").wait_for()
    page.locator("#incident-a1").wait_for()
    assert "last update" in page.locator("#updated").inner_text()


def test_an_alerts_link_leads_to_its_incident(open_page, service):
    """The address in an alert opens the incident, and its job at the time of the fault."""
    service.add(Job("other", seed=2))
    service.incidents["a1"] = incident("a1", job="other")
    page = open_page()
    page.locator("#board").wait_for()
    page.goto(service.url + "?fresh=1#incident=a1")
    page.locator("#incident-a1:focus").wait_for()
    assert page.locator("#detail-title").inner_text() == "other"


def test_an_alerts_link_finds_an_old_incident(open_page, service):
    """An incident that was resolved long ago, behind many others, is still what its link opens."""
    for n in range(30):
        service.incidents[f"a{n}"] = incident(f"a{n}", state="resolved", ended_at=now_ns() + n)
    page = open_page()
    page.locator("#closed li.card").nth(9).wait_for()
    assert page.locator("#closed li.card").count() == 10
    page.goto(service.url + "?fresh=1#incident=a3")
    page.locator("#incident-a3:focus").wait_for()


def test_an_event_during_reading_is_kept(modules):
    """A list that was asked for before an event came does not undo the event; beats may come in any order."""
    got = modules.evaluate(
        """import('./js/state.js').then(({State}) => {
          const s = new State();
          s.reading();
          s.setIncident({id: 'a', state: 'resolved'});
          s.setIncidents([{id: 'a', state: 'open'}, {id: 'b', state: 'open'}]);
          s.addBeats('j', [{at: 5e6, iteration_seconds: 0.5}]);
          s.addBeats('j', [{at: 3e6, iteration_seconds: 0.3}, {at: 5e6, iteration_seconds: 0.5}]);
          s.addBeats('j', [{at: 6e6, iteration_seconds: 0.6}]);
          return [s.incidents.get('a').state, s.incidents.size, s.beats.get('j')];
        })"""
    )
    assert got == ["resolved", 2, {"at": [3, 5, 6], "seconds": [0.3, 0.5, 0.6]}]


def test_empty_says_what_to_do(open_page, service):
    """With no agent the page says how to start one; with agents and no job, how to start a job."""
    service.jobs.clear()
    page = open_page()
    page.get_by_text("No agent has reported yet").wait_for()
    assert "offbeat agent" in page.locator("#no-jobs").inner_text()
    service.nodes = [{"host": "node-0"}]
    page.reload()
    page.get_by_text("1 agent reports, and no training job yet").wait_for()


HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>{{7*7}}'


def test_hostile_names_stay_text(open_page, service):
    """Markup in names of jobs and hosts, in findings and evidence is shown as text and does not run."""
    service.jobs.clear()
    service.add(Job(f"job {HOSTILE}", hosts=[f"host-{i} {HOSTILE}" for i in range(4)]))
    bad = Finding(
        id="x",
        fault=FaultClass.SLOW_LINK,
        severity=Severity.WARNING,
        summary=f"summary {HOSTILE}",
        advice=Advice(Action.INSPECT, f"why {HOSTILE}"),
        culprits=Culprits(hosts=(f"host {HOSTILE}",), links=(Link(1, 2, f"a {HOSTILE}", f"b {HOSTILE}"),)),
        evidence=(Evidence("k", f"text {HOSTILE}", {f"key {HOSTILE}": {"deep": HOSTILE}}),),
        started_at=now_ns(),
        detected_at=now_ns(),
        caused_by=HOSTILE,
    )
    service.incidents["x"] = incident(
        "x", job=f"job {HOSTILE}", value=bad, acknowledged_by=HOSTILE, state="acknowledged"
    )
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    page.get_by_text("Evidence (1)").click()
    page.get_by_role("button", name="As table").click()
    page.locator("#table-rows tr").first.wait_for()
    assert page.locator("main img, main script, body > img").count() == 0
    assert page.evaluate("window.pwned") is None
    for place in (
        "#jobs .name",
        "#detail-title",
        ".summary",
        ".advice",
        ".culprits",
        "details dd",
        "#table-rows td >> nth=0",
        ".when",
    ):
        assert "<img src=x onerror" in page.locator(place).first.inner_text(), place


def test_only_the_service_is_asked(open_page, service):
    """The page loads nothing from elsewhere: a cluster's network may have no way out."""
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator("#map[data-frame]").wait_for()
    assert asked
    assert [url for url in asked if not url.startswith(service.url)] == []


def test_keyboard_reaches_everything(open_page, service):
    """Tab alone leads to every control, and each shows where it is."""
    service.incidents["a1"] = incident("a1")
    page = open_page()
    page.locator("#map[data-frame]").wait_for()
    page.locator("#incident-a1").wait_for()
    wanted = page.evaluate(
        "[...document.querySelectorAll('button, select, input, summary, canvas[tabindex], a')]"
        ".filter((node) => node.checkVisibility() && !node.disabled).length"
    )
    reached = page.evaluate("window.reached = new Set(); reached.size")
    for _ in range(wanted * 2):
        page.keyboard.press("Tab")
        reached = page.evaluate(
            "(() => { const node = document.activeElement; if (node === document.body) return reached.size;"
            " reached.add(node); const style = getComputedStyle(node);"
            " if (style.outlineStyle === 'none') throw new Error(`no outline: ${node.outerHTML}`);"
            " return reached.size; })()"
        )
        if reached == wanted:
            break
    assert reached == wanted
    assert page.evaluate("[...reached].some((node) => node.id === 'map')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_contrast(open_page, service, scheme):
    """Text of both colour schemes reaches the contrast of 4.5 that WCAG AA asks for."""
    service.incidents["a1"] = incident("a1")
    service.incidents["b1"] = incident("b1", state="resolved", ended_at=now_ns())
    page = open_page(color_scheme=scheme)
    page.locator("#incident-a1").wait_for()
    page.locator("#map[data-frame]").wait_for()
    poor = page.evaluate(
        """() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
          const ground = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const colour = parse(getComputedStyle(at).backgroundColor);
              if (colour.length < 4 || colour[3] > 0) return colour;
            }
          };
          const words = [...document.querySelectorAll("main *, header *")].filter((node) => node.checkVisibility()
            && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
          return words.map((node) => {
            const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
            return [node.textContent.slice(0, 30), (a + 0.05) / (b + 0.05)];
          }).filter(([, ratio]) => ratio < 4.5);
        }"""
    )
    assert poor == []


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_fits_the_width(open_page, service, width):
    """From phone to wide screen nothing sticks out at the side."""
    service.incidents["a1"] = incident("a1", value=finding(hosts=("a-host-with-a-very-long-name-" * 4,)))
    page = open_page(viewport={"width": width, "height": 800})
    page.locator("#map[data-frame]").wait_for()
    page.locator("#incident-a1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_times_are_local_with_utc_on_hover(open_page, service):
    """Times are read in the reader's zone; UTC, for comparing with logs, is in the tooltip."""
    at = 1_790_000_000_250_000_000  # 2026-09-21 14:13:20.250 UTC, 16:13:20 in Berlin
    service.incidents["a1"] = incident("a1", value=finding(started_at=at))
    page = open_page()
    time = page.locator("#incident-a1 time").first
    time.wait_for()
    assert "16:13:20" in time.inner_text()
    assert time.get_attribute("title") == "2026-09-21 14:13:20.250 UTC"


def test_every_fault_class_has_words(modules):
    """The page knows the classes of `offbeat.model`, all of them and no others; so too the advice."""
    classes, actions = modules.evaluate(
        "import('./js/words.js').then((m) => [Object.keys(m.FAULTS), Object.keys(m.ACTIONS)])"
    )
    assert set(classes) == {str(fault) for fault in FaultClass}
    assert set(actions) == {str(action) for action in Action}


def test_the_page_carries_its_policy_itself():
    """The policy is also in the page, without the part that browsers take from headers alone."""
    page = (dashboards.WEB / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert policy + "; frame-ancestors 'none'" == dashboards.CONTENT_SECURITY_POLICY
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=|https?://", page)
