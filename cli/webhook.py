"""`offbeat webhook`: who is told of incidents."""

from __future__ import annotations

from typing import Annotated

import typer

from offbeat.api.deliveries.payloads import Kind
from offbeat.cli import render
from offbeat.cli.client import connect, segment
from offbeat.cli.options import DryRun, Form, Output, Token, Url

app = typer.Typer(add_completion=False, help="Send alerts elsewhere: add, list, remove.", no_args_is_help=True)


@app.command(epilog="Example: offbeat webhook add https://alerts.example.org/offbeat")
def add(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="[URL]", help="Where to; not needed for pagerduty.")] = "",
    *,
    kind: Annotated[Kind, typer.Option(help="offbeat, alertmanager, slack or pagerduty.")] = Kind.OFFBEAT,
    routing_key: Annotated[str | None, typer.Option(help="PagerDuty's integration key.")] = None,
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """Tell a place of every incident and of its end; prints the signing secret, which cannot be shown again."""
    if kind is not Kind.PAGERDUTY and not target:
        raise typer.BadParameter("is missing", param_hint="URL")
    if (kind is Kind.PAGERDUTY) != (routing_key is not None):
        raise typer.BadParameter("belongs to --kind pagerduty, which needs it", param_hint="--routing-key")
    if dry_run:
        typer.echo(f"would add a webhook of kind {kind}")
        return
    with connect(context, url, token) as client:
        made = client.post("/webhooks", {"url": target, "kind": kind, "routing_key": routing_key})
    if made["secret"]:
        typer.echo(made["secret"])


@app.command("list")
def list_webhooks(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """List webhooks."""
    with connect(context, url, token) as client:
        items = client.get("/webhooks")["items"]
    if output is Form.JSON:
        render.print_json("offbeat.webhooks/1", {"items": items})
        return
    rows = ((i["id"], i["kind"], render.plain(i["url"]), render.since(i["created_at"])) for i in items)
    render.console().print(render.table(("ID", "KIND", "URL~", "ADDED>"), rows))


@app.command()
def remove(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID")],  # noqa: A002 - the help's word
    *,
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """Stop telling a place."""
    if dry_run:
        typer.echo(f"would remove webhook {id}")
        return
    with connect(context, url, token) as client:
        client.delete(f"/webhooks/{segment(id)}")
