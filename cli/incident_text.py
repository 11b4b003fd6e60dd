"""One incident for a terminal: the verdict, what to do, whom it holds up, and the evidence with its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from offbeat.cli import render
from offbeat.faults import ACTIONS, FAULTS, headline, runbook
from offbeat.figures import Bar, bars
from offbeat.model import Action, FaultClass
from offbeat.wording import culprits, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

BAR = 24
"""Characters of the longest bar."""
VICTIMS = 32
"""Victims named one by one."""


def incident(found: dict[str, Any], history: Sequence[dict[str, Any]] = (), url: str = "") -> RenderableType:
    """Return the picture of an incident, in the JSON form of the API, and its history; *url* is the service's."""
    # Below a Unix socket no browser finds the runbook.
    base = f"{url}/" if url.startswith("http") else ""
    return Group(*_parts(found, history, base + runbook(found["class"])))


def _parts(found: dict[str, Any], history: Sequence[dict[str, Any]], book: str) -> Iterator[RenderableType]:
    finding, words = found["finding"], FAULTS[FaultClass(found["class"])]
    who = culprits(finding)
    style = render.word(found["severity"]).style
    yield Text.assemble(
        (f"{found['severity'].upper()}  ", style), render.plain(headline(found["class"], found["job"], who))
    )
    yield render.plain(finding["summary"])
    yield Text(f"{words.title}: {words.meaning}", style="dim")
    yield ""
    yield render.facts(_facts(found, who))
    yield ""
    yield "What to do"
    yield render.facts(_advice(finding, words.advice, book))
    for item in finding["evidence"]:
        if item["kind"] == "cost":
            yield ""
            yield "What it costs"
            yield from _evidence(item)
    yield ""
    yield "Evidence"
    for item in finding["evidence"]:
        if item["kind"] != "cost":
            yield from _evidence(item)
    if history:
        yield ""
        yield "History"
        yield render.facts((render.since(step["at"]), render.plain(step["text"])) for step in history)


def _facts(found: dict[str, Any], who: str) -> Iterator[tuple[str, RenderableType]]:
    finding = found["finding"]
    started, ended = finding["started_at"], found["ended_at"]
    yield "what", f"{found['class']} ({found['severity']})"
    yield "who", render.plain(who)
    yield "job", render.plain(f"{found['job']}, attempt {found['attempt']}")
    yield "state", render.word(found["state"])
    yield "began", render.since(started)
    yield "noticed", _after(started, found["detected_at"])
    yield "confidence", f"{finding['confidence']:.0%}"
    if finding["slowdown"] is not None:
        yield "slowdown", f"{finding['slowdown']:.2f} x"
    if finding["victims"]["ranks"]:
        yield "victims", _victims(finding["victims"]["ranks"])
    if found["acknowledged_by"]:
        yield "acknowledged", f"by {found['acknowledged_by']}, {render.since(found['acknowledged_at'])}"
    if ended is not None:
        by = f" by {found['resolved_by']}" if found["resolved_by"] else ""
        yield "ended", render.plain(f"{render.since(ended)}{by}: {found['resolved_why'] or 'no reason given'}")


def _advice(finding: dict[str, Any], general: str, book: str) -> Iterator[tuple[str, RenderableType]]:
    advice = finding["advice"]
    yield "advice", render.plain(f"{ACTIONS[Action(advice['action'])]} ({advice['action']}): {advice['why']}")
    yield "usually", general
    yield "runbook", book


def _evidence(item: dict[str, Any]) -> Iterator[RenderableType]:
    yield render.facts([(" *", render.plain(item["text"]))])
    drawn = bars(item["data"])
    if drawn:
        wide = max(len(bar.name) for bar in drawn)
        for bar in drawn:
            yield Text(f"     {_line(bar, wide)}", no_wrap=True, overflow="ellipsis")


def _line(bar: Bar, wide: int) -> str:
    name = render.plain(bar.name).plain[:BAR].ljust(min(wide, BAR))
    return f"{name} {'#' * max(1, round(bar.length * BAR)) if bar.length else ''}".ljust(wide + BAR + 2) + bar.text


def _victims(ranks: list[int]) -> str:
    rest = f" and {len(ranks) - VICTIMS} more" if len(ranks) > VICTIMS else ""
    return f"ranks {', '.join(map(str, ranks[:VICTIMS]))}{rest}"


def _after(started: int | None, detected: int | None) -> str:
    if started is None or detected is None:
        return "-"
    return f"{duration(max(0, detected - started) / 1e9)} after it began"
