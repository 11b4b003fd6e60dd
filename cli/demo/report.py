"""What the demo shows: what was done, the finding as the API gave it, and the table at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich import box
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from offbeat.cli.demo.faults import Fault
    from offbeat.cli.demo.judge import Sighting, Verdict

_EVIDENCE = 4
"""Sentences of evidence shown a finding; the dashboard has the rest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault, and what came of it.

    Args:
        at: When it was made, Unix seconds.
        verdict: What the service said; None where the fault could not be made.
        note: Why it could not be made, or what was odd.
    """

    fault: Fault
    at: float
    verdict: Verdict | None
    note: str = ""

    @property
    def seconds(self) -> float | None:
        """From the fault to the finding in the API."""
        right = self.verdict.right if self.verdict else None
        return right.first_seen - self.at if right else None

    @property
    def right(self) -> bool:
        """Whether the fault was named, and nobody else."""
        return self.verdict is not None and self.verdict.right is not None and not self.verdict.wrong


class Screen:
    """The console, with a progress bar in its last line as long as the demo goes on.

    Args:
        console: Where to print.
        steps: How many steps there will be.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=steps)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()

    def stage(self, what: str) -> None:
        """Say beside the bar what is going on."""
        self._progress.update(self._task, description=what)

    def step(self) -> None:
        """Move the bar by one."""
        self._progress.advance(self._task)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def done(self, what: str) -> None:
        """Print what the demo has just done to the job."""
        self.console.print(f"\n==> {what}", style="bold", markup=False, highlight=False, soft_wrap=True)

    def remark(self, text: str) -> None:
        """Print something odd."""
        self.console.print(f"    {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def show_finding(console: Console, sighting: Sighting, title: str, *, right: bool) -> None:
    """Print one incident: class, culprit, evidence, advice."""
    finding = sighting.findings[-1]
    body = Table.grid(padding=(0, 2))
    body.add_column(style="bold")
    body.add_column()
    slowdown = f", {finding['slowdown']:.2f}x slower" if finding["slowdown"] else ""
    body.add_row("class", Text(f"{finding['class']} ({finding['severity']}{slowdown})"))
    body.add_row("culprit", Text(name_culprits(finding)))
    body.add_row("finding", Text(finding["summary"]))
    for i, item in enumerate(finding["evidence"][:_EVIDENCE]):
        body.add_row("" if i else "evidence", Text(item["text"]))
    body.add_row("advice", Text(f"{finding['advice']['action']}: {finding['advice']['why']}"))
    colour = "green" if right else "red"
    console.print(Panel(body, title=Text(title, style=colour), title_align="left", border_style=colour))


def name_culprits(finding: dict[str, Any]) -> str:
    """Return who *finding* names, in one line."""
    culprits = finding["culprits"]
    words = [f"rank {rank}" for rank in culprits["ranks"]]
    words += culprits["hosts"]
    words += [f"{_end(link, 'src')} -> {_end(link, 'dst')}" for link in culprits["links"]]
    words += [f"{device['kind']} {device['id']} of {device['host']}" for device in culprits["devices"]]
    return ", ".join(words) or "nobody"


def _end(link: dict[str, Any], side: str) -> str:
    rank, host = link[f"{side}_rank"], link[f"{side}_host"]
    return f"rank {rank} ({host})" if rank is not None and host else f"rank {rank}" if rank is not None else str(host)


def show_table(console: Console, outcomes: list[Outcome], alarms: list[Sighting]) -> bool:
    """Print one row a fault, and one for each accusation while nothing was wrong; return whether all is right."""
    table = Table(box=box.SIMPLE_HEAVY, title="What was done, and what Offbeat said", title_justify="left")
    for column in ("done", "class", "culprit", "seconds", ""):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for outcome in outcomes:
        table.add_row(*_row(outcome))
        for sighting in outcome.verdict.wrong if outcome.verdict else ():
            table.add_row("", *_accusation(sighting), "", Text("wrong", style="red"))
    for sighting in alarms:
        table.add_row("(nothing)", *_accusation(sighting), "", Text("wrong", style="red"))
    console.print(table)
    made = [outcome for outcome in outcomes if outcome.verdict is not None]
    named = sum(outcome.right for outcome in made)
    right = named == len(made) > 0 and not alarms
    console.print(
        f"{named} of {len(made)} named right, {len(outcomes) - len(made)} skipped, {len(alarms)} false alarms",
        style="bold green" if right else "bold red",
    )
    return right


def _row(outcome: Outcome) -> tuple[str | Text, ...]:
    title, seconds = Text(outcome.fault.title), outcome.seconds
    if outcome.verdict is None:
        return title, "", "", "", Text(f"skipped: {outcome.note}", style="yellow")
    if outcome.verdict.right is None or seconds is None:
        return title, "not named", "", "", Text(f"wrong {outcome.note}".rstrip(), style="red")
    return title, *_accusation(outcome.verdict.right), f"{seconds:.1f}", Text("right", style="green")


def _accusation(sighting: Sighting) -> tuple[Text, Text]:
    finding = sighting.findings[-1]
    culprits = finding["culprits"]
    links = [] if culprits["ranks"] or culprits["hosts"] else culprits["links"]  # the panel above has them all
    return Text(finding["class"]), Text(name_culprits({"culprits": {**culprits, "links": links}}))
