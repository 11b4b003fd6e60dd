"""`offbeat status`: the service, its jobs and what is open, on one screen."""

from __future__ import annotations

import typer
from rich.text import Text

from offbeat.cli import render
from offbeat.cli.client import connect
from offbeat.cli.incidents import incident_table
from offbeat.cli.jobs import job_table
from offbeat.cli.options import Form, Output, Token, Url

SHOWN = 10
"""Jobs and incidents shown; more do not fit one screen."""
_OPEN = ["open", "acknowledged", "recovering"]

app = typer.Typer(add_completion=False)


@app.command()
def status(context: typer.Context, url: Url = None, token: Token = None, output: Output = None) -> None:
    """Show the service, its jobs and what is open, on one screen."""
    with connect(context, url, token) as client:
        ready = client.operation("/readyz")
        version = client.operation("/version")["version"]
        jobs = client.items("/jobs")
        incidents = client.items("/incidents", state=_OPEN)
        if output is Form.JSON:
            service = {"url": client.url, "version": version, **ready}
            render.print_json("offbeat.status/1", {"service": service, "jobs": jobs, "incidents": incidents})
            return
        console = render.console()
        console.print(Text.assemble(f"Offbeat {version} at {client.url}: ", _health(ready)))
        console.print()
        if jobs:
            console.print(job_table(client, jobs[:SHOWN]))
        else:
            console.print("No job was seen yet.")
        if len(jobs) > SHOWN:
            console.print(f"… and {len(jobs) - SHOWN} more: offbeat jobs")
        console.print()
        if incidents:
            console.print(incident_table(incidents[:SHOWN]))
        else:
            console.print("No open incidents.")
        if len(incidents) > SHOWN:
            console.print(f"… and {len(incidents) - SHOWN} more: offbeat incidents --state open")


def _health(ready: dict[str, object]) -> Text:
    if ready.get("ready"):
        return Text("ready", style="green")
    checks = ready.get("checks")
    wrong = [
        f"{name}: {value}" for name, value in dict(checks if isinstance(checks, dict) else {}).items() if value != "ok"
    ]
    return Text("not ready, " + "; ".join(wrong), style="bold red")
