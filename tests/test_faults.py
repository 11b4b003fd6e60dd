"""The registry of fault classes: whoever shows a class to people has its words from there."""

import io
import json
import re
from pathlib import Path

import pytest
from findings import finding
from rich.console import Console

from offbeat import dashboards, faults
from offbeat.api.deliveries.payloads import Kind, build
from offbeat.cli import incident_text
from offbeat.faults import ACTIONS, FAULTS, headline, runbook
from offbeat.model import Action, Culprits, FaultClass, IncidentState
from offbeat.store import Delivery, Incident, Webhook
from offbeat.wording import culprits

ROOT = Path(__file__).parents[1]
T0 = 1_800_000_000_123_000_000


def incident(fault, **changes):
    """Return an incident of the class *fault*, in JSON form."""
    row = Incident("inc1", "train", 2, IncidentState.OPEN, 1, finding(at=T0, fault=fault, **changes), T0, T0, T0)
    return row.to_dict()


def printed(renderable):
    """Return what a terminal without colours shows, its lines joined."""
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(renderable)
    return " ".join(out.getvalue().split())


def test_the_registry_has_every_class_and_every_action_and_no_others():
    """Both lists are those of the contract, in its order."""
    assert list(FAULTS) == list(FaultClass)
    assert list(ACTIONS) == list(Action)


@pytest.mark.parametrize("fault", FaultClass)
def test_words_are_of_the_form_that_fits_everywhere(fault):
    """A title fits a column, meaning and advice are a sentence each, the alert names the job."""
    words = FAULTS[fault]
    assert 3 <= len(words.title) <= 30
    for sentence in (words.meaning, words.advice):
        assert re.fullmatch(r"[A-Z][^.]{10,140}\.", sentence), sentence
    assert "{job}" in words.alert
    assert set(re.findall(r"\{.*?\}", words.alert)) <= {"{job}", "{who}"}
    assert not words.alert.endswith(".")


@pytest.mark.parametrize("fault", FaultClass)
def test_the_runbook_begins_with_the_meaning(fault):
    """The page that the registry names has the section, and its first paragraph is the registry's sentence."""
    words = FAULTS[fault]
    page = (ROOT / f"docs/runbook/{words.runbook}.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(fault)}\n+(.+?)\n\n", page, re.MULTILINE | re.DOTALL)
    assert " ".join(found[1].split()) == words.meaning


@pytest.mark.parametrize("fault", FaultClass)
def test_the_dashboard_has_the_runbook(fault):
    """The link of an alert leads to a page that the service itself has, and to a section of it."""
    name, _, anchor = runbook(fault).partition("#")
    assert f'id="{anchor}"' in (dashboards.WEB / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("fault", FaultClass)
def test_alerts_say_it_in_the_registrys_words(fault, kind):
    """Every receiver is told the alert's line and where the runbook is."""
    body = incident(fault)
    told = build(Delivery("msg_1", Webhook("wh", "http://x", kind, 0), "key", "opened", body, 0, T0), "https://o/")
    text = json.dumps(told, ensure_ascii=False)
    assert headline(fault, "train", culprits(body["finding"])) in text
    assert "https://o/" + runbook(fault) in text


@pytest.mark.parametrize("fault", FaultClass)
def test_the_terminal_says_it_in_the_registrys_words(fault):
    """`offbeat incidents show` has title, meaning, advice and runbook of the class."""
    text = printed(incident_text.incident(incident(fault), url="http://o"))
    words = FAULTS[fault]
    for part in (words.title, words.meaning, words.advice, f"http://o/{runbook(fault)}"):
        assert part in text


def test_the_dashboard_is_served_the_very_table():
    """The page reads the file that Python reads, no copy."""
    assert dashboards.SHARED["faults.json"] is faults.FILE
    script = (dashboards.WEB / "js/words.js").read_text(encoding="utf-8")
    assert 'from "../faults.json"' in script
    assert [str(fault) for fault in FaultClass if f'"{fault}"' in script] == []


def test_names_from_elsewhere_are_no_placeholders():
    """A job or host that is called like a placeholder stays what it is."""
    assert headline("lost.host", "{who}", "host {job}") == "{who} lost host {job}"


def test_nobody_named_is_said():
    """A class that accuses somebody copes with a finding that names nobody."""
    who = culprits(finding(culprits=Culprits()).to_dict())
    assert headline("slow.link", "train", who) == "train is slowed by one path: nobody named"
