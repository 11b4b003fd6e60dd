"""`offbeat token`: who is let in."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from offbeat.cli import render
from offbeat.cli.client import connect, segment
from offbeat.cli.options import DryRun, Form, Output, Token, Url

app = typer.Typer(add_completion=False, help="Let agents and people in: create, list, revoke.", no_args_is_help=True)


class RoleName(StrEnum):
    """What a token may do."""

    AGENT = "agent"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@app.command(epilog="Example: offbeat token create --role agent --host node0001")
def create(
    context: typer.Context,
    *,
    role: Annotated[RoleName, typer.Option(help="agent, viewer, operator or admin.")],
    host: Annotated[str | None, typer.Option(help="The one host an agent may report.")] = None,
    note: Annotated[str, typer.Option(help="Whom it is for.")] = "",
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """Make a token and print it; it cannot be shown again."""
    if (role is RoleName.AGENT) != (host is not None):
        raise typer.BadParameter("a token of role agent needs --host; others have none", param_hint="--host")
    if dry_run:
        typer.echo(f"would make a token of role {role}" + (f" for host {host}" if host else ""))
        return
    with connect(context, url, token) as client:
        typer.echo(client.post("/tokens", {"role": role, "host": host, "note": note})["token"])


@app.command("list")
def list_tokens(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """List tokens; what they were is not kept."""
    with connect(context, url, token) as client:
        items = client.get("/tokens")["items"]
    if output is Form.JSON:
        render.print_json("offbeat.tokens/1", {"items": items})
        return
    rows = (
        (
            item["id"],
            item["role"],
            render.plain(item["host"] or "-"),
            render.plain(item["note"] or "-"),
            render.since(item["created_at"]),
            "-" if item["revoked_at"] is None else render.since(item["revoked_at"]),
        )
        for item in items
    )
    render.console().print(render.table(("ID", "ROLE", "HOST~", "NOTE~", "MADE>", "REVOKED>"), rows))


@app.command()
def revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID")],  # noqa: A002 - the help's word
    *,
    url: Url = None,
    token: Token = None,
    dry_run: DryRun = False,
) -> None:
    """Refuse a token from now on."""
    if dry_run:
        typer.echo(f"would revoke token {id}")
        return
    with connect(context, url, token) as client:
        client.delete(f"/tokens/{segment(id)}")
