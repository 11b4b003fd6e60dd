"""The registry of words on fault classes: one table, read by dashboard, terminal, alerts, documentation and tests.

Each class of `FaultClass` and each `Action` is in `faults.json`. The dashboard is served that very file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from offbeat.model import Action, FaultClass

FILE = Path(str(resources.files("offbeat") / "faults.json"))
"""The table."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What people are told of one fault class.

    Args:
        title: A few words.
        meaning: One sentence; its runbook section begins with it.
        advice: One sentence on what to do, whatever the finding's own advice adds.
        alert: The line people are paged with; `{job}` and `{who}` stand for job and culprits.
        runbook: The page below docs/runbook, without its suffix.
        anchor: The section on that page.
    """

    title: str
    meaning: str
    advice: str
    alert: str
    runbook: str
    anchor: str


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as Markdown renderers make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _read() -> tuple[dict[FaultClass, Fault], dict[Action, str]]:
    table = json.loads(FILE.read_text(encoding="utf-8"))
    classes = {FaultClass(name): Fault(**row, anchor=anchor(name)) for name, row in table["classes"].items()}
    return classes, {Action(name): words for name, words in table["actions"].items()}


FAULTS, ACTIONS = _read()
"""Each class's words; each action's."""


def headline(fault: FaultClass | str, job: str, who: str) -> str:
    """Return the line to page somebody with: what is wrong with *job*, and at *who* (culprits in words)."""
    # Names come from elsewhere and may hold braces: what replaces a placeholder is not read again.
    values = {"{job}": job, "{who}": who}
    return re.sub(r"\{(?:job|who)\}", lambda found: values[found[0]], FAULTS[FaultClass(fault)].alert)


def runbook(fault: FaultClass | str) -> str:
    """Return where the dashboard has the runbook section on *fault*, relative to the dashboard's address."""
    words = FAULTS[FaultClass(fault)]
    return f"runbook/{words.runbook}.html#{words.anchor}"
