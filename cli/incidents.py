"""`offbeat incidents`: what was found, the evidence, and what people say of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from offbeat.cli import incident_text, render
from offbeat.cli.client import Client, connect, segment
from offbeat.cli.options import DryRun, Form, Output, Token, Url, given
from offbeat.wording import culprits

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
        history = client.get(f"/incidents/{segment(id)}/history")["items"]
    if given(context, "output", output) is Form.JSON:
        render.print_json("offbeat.incident/1", {"incident": found, "history": history})
        return
    render.console().print(incident_text.incident(found, history, client.url))


@app.command()
def accuracy(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """Say how often findings were right, as far as people said so with `feedback`."""
    with connect(context, url, token) as client:
        items = client.items("/accuracy")
    if given(context, "output", output) is Form.JSON:
        render.print_json("offbeat.accuracy/1", {"items": items})
        return
    rows = (
        (
            item["class"],
            str(item["right"]),
            str(item["wrong"]),
            f"{item['right'] / (item['right'] + item['wrong']):.0%}",
        )
        for item in items
    )
    heads = ("CLASS", "RIGHT>", "WRONG>", "SHARE RIGHT>")
    render.console().print(render.table(heads, rows) if items else "Nobody has judged a finding yet.")


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


def _share(judged: dict[str, Any]) -> str:
    return f"{judged['right'] / (judged['right'] + judged['wrong']):.0%}"


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
