"""`offbeat jobs`: what is running."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from offbeat.cli import render
from offbeat.cli.client import Client, connect, segment
from offbeat.cli.options import Form, Output, Token, Url, given

SPARKS = 10
"""Jobs whose beat is drawn in a list; each costs a call."""

app = typer.Typer(add_completion=False, invoke_without_command=True)


@app.callback(epilog="Example: offbeat jobs --output json")
def jobs(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """List jobs, or show one."""
    if context.invoked_subcommand is not None:
        return
    with connect(context, url, token) as client:
        items = client.items("/jobs")
        if output is Form.JSON:
            render.print_json("offbeat.jobs/1", {"items": items})
        else:
            render.console().print(job_table(client, items) if items else "No job was seen yet.")


@app.command()
def show(context: typer.Context, job: str, url: Url = None, token: Token = None, output: Output = None) -> None:
    """Show one job: its beat, its hosts, and where its ranks run."""
    with connect(context, url, token) as client:
        found = client.get(f"/jobs/{segment(job)}")
        if given(context, "output", output) is Form.JSON:
            render.print_json("offbeat.job/1", {"job": found})
            return
        console = render.console()
        console.print(
            render.facts(
                (
                    ("job", render.plain(found["id"])),
                    ("name", render.plain(found["name"])),
                    ("state", render.word(found["state"])),
                    ("attempt", str(found["attempt"])),
                    ("ranks", f"{found['world']} on {len(found['hosts'])} hosts"),
                    ("iteration", render.seconds(found["iteration_seconds"])),
                    ("beat", beat(client, found["id"], 60)),
                    ("first seen", render.since(found["first_seen"])),
                    ("last seen", render.since(found["last_seen"])),
                    ("open incidents", str(found["open_incidents"])),
                )
            )
        )
        console.print()
        console.print(_by_host(found["ranks"]))


def job_table(client: Client, items: list[dict[str, Any]]) -> Table:
    """Return jobs as a table, with the beat of the first few."""
    rows = (
        (
            render.plain(job["id"]),
            render.word(job["state"]),
            str(job["world"]),
            str(len(job["hosts"])),
            render.seconds(job["iteration_seconds"]),
            beat(client, job["id"], 12) if at < SPARKS else "",
            render.since(job["last_seen"]),
            str(job["open_incidents"] or "-"),
        )
        for at, job in enumerate(items)
    )
    return render.table(("JOB~", "STATE", "RANKS>", "HOSTS>", "ITER>", "BEAT", "SEEN>", "OPEN>"), rows)


def beat(client: Client, job: str, width: int) -> str:
    """Return the newest iterations of *job* as bars."""
    points = client.get(f"/jobs/{segment(job)}/beat")["items"]
    return render.spark([point["iteration_seconds"] for point in points], width)


def _by_host(ranks: list[dict[str, Any]]) -> Table:
    hosts: dict[str, list[dict[str, Any]]] = {}
    for rank in ranks:
        hosts.setdefault(rank["host"], []).append(rank)
    rows = (
        (render.plain(host), " ".join(str(r["rank"]) for r in here), " ".join(str(r["pid"] or "-") for r in here))
        for host, here in sorted(hosts.items())
    )
    return render.table(("HOST~", "RANKS~", "PIDS~"), rows)
