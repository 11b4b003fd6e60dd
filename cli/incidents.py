"""`offbeat incidents`: what was found, the evidence, and what people say of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from offbeat.cli import render
from offbeat.cli.client import Client, connect, segment
from offbeat.cli.options import DryRun, Form, Output, Token, Url, given
from offbeat.wording import culprits, duration

app = typer.Typer(add_completion=False, invoke_without_command=True)

Id = Annotated[str, typer.Argument(metavar="ID", show_default=False)]


@app.callback(epilog="Example: offbeat incidents --state open --class slow.compute")
def incidents(
    context: typer.Context,
    *,
    job: Annotated[str | None, typer.Option(help="Only of this job.")] = None,
    state: Annotated[str | None, typer.Option(help="open, acknowledged, recovering, recovered or resolved.")] = None,
    fault: Annotated[str | None, typer.Option("--class", help="Only of this fault class, such as slow.link.")] = None,
    url: Url = None,
    token: Token = None,
    output: Output = None,
) -> None:
    """List incidents, show one, acknowledge, resolve or judge it."""
    if context.invoked_subcommand is not None:
        return
    with connect(context, url, token) as client:
        items = client.items("/incidents", job=job, state=state, **{"class": fault})
    if output is Form.JSON:
        render.print_json("offbeat.incidents/1", {"items": items})
    else:
        render.console().print(incident_table(items) if items else "No incidents.")


@app.command()
def show(context: typer.Context, id: Id, url: Url = None, token: Token = None, output: Output = None) -> None:  # noqa: A002 - the help's word
    """Show an incident: who, since when, what to do, and why Offbeat says so."""
    with connect(context, url, token) as client:
        found = client.get(f"/incidents/{segment(id)}")
    if given(context, "output", output) is Form.JSON:
        render.print_json("offbeat.incident/1", {"incident": found})
        return
    _show(found)


@app.command()
def ack(context: typer.Context, id: Id, url: Url = None, token: Token = None, dry_run: DryRun = False) -> None:  # noqa: A002 - the help's word
    """Say that you look after an incident."""
    with connect(context, url, token) as client:
        if not (dry_run and _would("acknowledge", client, id)):
            client.post(f"/incidents/{segment(id)}/acknowledge", {})


@app.command()
def resolve(
    context: typer.Context,
    id: Id,  # noqa: A002 - the help's word
    *,
    why: Annotated[str, typer.Option(help="For whoever reads it later.")] = "",
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """End an incident by hand."""
    with connect(context, url, token) as client:
        if not (dry_run and _would("resolve", client, id)):
            client.post(f"/incidents/{segment(id)}/resolve", {"why": why})


@app.command()
def feedback(
    context: typer.Context,
    id: Id,  # noqa: A002 - the help's word
    *,
    right: Annotated[bool, typer.Option("--right/--wrong", help="Was the finding right?")],
    note: Annotated[str, typer.Option(help="What it really was.")] = "",
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """Say whether the finding was right; figures on accuracy are made of it."""
    with connect(context, url, token) as client:
        if not (dry_run and _would(f"note as {'right' if right else 'wrong'}", client, id)):
            client.post(f"/incidents/{segment(id)}/feedback", {"right": right, "note": note})


def incident_table(items: list[dict[str, Any]]) -> Table:
    """Return incidents as a table."""
    rows = (
        (
            render.plain(item["id"]),
            Text(item["class"], style=render.word(item["severity"]).style),
            render.plain(culprits(item["finding"])),
            render.plain(item["job"]),
            render.word(item["state"]),
            render.since(item["opened_at"]),
        )
        for item in items
    )
    return render.table(("ID", "WHAT", "WHO~", "JOB~", "STATE", "SINCE>"), rows)


def _would(verb: str, client: Client, id_: str) -> bool:
    found = client.get(f"/incidents/{segment(id_)}")
    typer.echo(f"would {verb} {found['id']}: {found['class']}, {culprits(found['finding'])}, job {found['job']}")
    return True


def _show(found: dict[str, Any]) -> None:
    finding = found["finding"]
    console = render.console()
    console.print(Text(finding["summary"], style=render.word(found["severity"]).style))
    console.print()
    started, ended = finding["started_at"], found["ended_at"]
    pairs: list[tuple[str, RenderableType]] = [
        ("what", f"{found['class']} ({found['severity']})"),
        ("who", render.plain(culprits(finding))),
        ("job", render.plain(f"{found['job']}, attempt {found['attempt']}")),
        ("state", render.word(found["state"])),
        ("began", render.since(started)),
        ("noticed", _after(started, found["detected_at"])),
        ("confidence", f"{finding['confidence']:.0%}"),
    ]
    if finding["slowdown"] is not None:
        pairs.append(("slowdown", f"{finding['slowdown']:.2f} x"))
    if finding["victims"]["ranks"]:
        pairs.append(("victims", f"ranks {', '.join(map(str, finding['victims']['ranks']))}"))
    if found["acknowledged_by"]:
        pairs.append(("acknowledged", f"by {found['acknowledged_by']}, {render.since(found['acknowledged_at'])}"))
    if ended is not None:
        by = f" by {found['resolved_by']}" if found["resolved_by"] else ""
        pairs.append(
            ("ended", render.plain(f"{render.since(ended)}{by}: {found['resolved_why'] or 'no reason given'}"))
        )
    pairs.append(("advice", render.plain(f"{finding['advice']['action']}: {finding['advice']['why']}")))
    console.print(render.facts(pairs))
    console.print()
    console.print("Evidence")
    for item in finding["evidence"]:
        console.print(render.facts([(" *", render.plain(item["text"]))]))


def _after(started: int | None, detected: int | None) -> str:
    if started is None or detected is None:
        return "-"
    return f"{duration(max(0, detected - started) / 1e9)} after it began"
