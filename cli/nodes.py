"""`offbeat nodes`: the hosts that report."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import RenderableType

from offbeat.cli import render
from offbeat.cli.client import connect, segment
from offbeat.cli.options import Form, Output, Token, Url, given

app = typer.Typer(add_completion=False, invoke_without_command=True)


@app.callback()
def nodes(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """List hosts, or show one."""
    if context.invoked_subcommand is not None:
        return
    with connect(context, url, token) as client:
        items = client.items("/nodes")
    if output is Form.JSON:
        render.print_json("offbeat.nodes/1", {"items": items})
    elif not items:
        render.console().print("No agent has reported yet.")
    else:
        rows = ((render.plain(item["host"]), render.since(item["last_seen"]), _ranks(item)) for item in items)
        render.console().print(render.table(("HOST~", "SEEN>", "RANKS~"), rows))


@app.command()
def show(context: typer.Context, host: str, url: Url = None, token: Token = None, output: Output = None) -> None:
    """Show one host: its agent, its addresses, its ranks."""
    with connect(context, url, token) as client:
        found = client.get(f"/nodes/{segment(host)}")
    if given(context, "output", output) is Form.JSON:
        render.print_json("offbeat.node/1", {"node": found})
        return
    pairs: list[tuple[str, RenderableType]] = [
        ("host", render.plain(found["host"])),
        ("seen", render.since(found["last_seen"])),
        ("agent started", render.since(found["incarnation"])),
        ("first seen", render.since(found["first_seen"])),
        ("addresses", render.plain(", ".join(found["addresses"]) or "-")),
        ("ranks", _ranks(found)),
    ]
    if found["lost_batches"]:
        pairs.append(
            ("lost", f"{found['lost_batches']} batches of telemetry: they outgrew the spool, or its disk failed")
        )
    if found["conflict"] is not None:
        when = render.since(found["conflict"]["at"])
        pairs.append(("conflict", f"a second agent sends under this name and is refused, last {when}"))
    render.console().print(render.facts(pairs))


def _ranks(node: dict[str, Any]) -> Any:
    lines = [f"{job}: {' '.join(map(str, ranks))}" for job, ranks in sorted(node["jobs"].items())]
    return render.plain("; ".join(lines) or "-")
