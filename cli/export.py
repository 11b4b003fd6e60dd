"""`offbeat export`: a stretch of a job as a file for another program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from offbeat.cli.client import Client, connect, segment
from offbeat.cli.errors import CliError
from offbeat.cli.options import Token, Url
from offbeat.wording import duration

SECOND = 1_000_000_000
BEFORE, AFTER = 20, 10
"""Seconds around the beginning of an incident: a healthy stretch to compare with, and the fault."""

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True, epilog="Example: offbeat export --perfetto hang.pftrace --incident 3f2a")
def export(
    context: typer.Context,
    *,
    perfetto: Annotated[
        Path, typer.Option(metavar="FILE", help="Write a Perfetto trace; - is the standard output.", show_default=False)
    ],
    job: Annotated[str | None, typer.Option(help="Of this job, its newest stretch.")] = None,
    incident: Annotated[str | None, typer.Option(help="Around the beginning of this incident.")] = None,
    last: Annotated[float | None, typer.Option(min=0.1, max=600, help="Seconds of a job. [default: 30]")] = None,
    rank: Annotated[list[int] | None, typer.Option(help="Only this rank; may be given several times.")] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write ranks, their operations, waits and faults as a trace to open in ui.perfetto.dev."""
    if (job is None) == (incident is None):
        raise CliError("give either --job or --incident", exit_code=64)
    if incident is not None and last is not None:
        raise CliError("--last goes with --job: an incident has a time of its own", exit_code=64)
    with connect(context, url, token) as client:
        query: dict[str, Any] = {"format": "perfetto", "rank": rank or None}
        if incident is not None:
            found = client.get(f"/incidents/{segment(incident)}")
            started = found["finding"]["started_at"] or found["opened_at"]
            job = found["job"]
            query |= {"since": started - BEFORE * SECOND, "until": started + AFTER * SECOND}
        elif last is not None:
            until = client.get(f"/jobs/{segment(job or '')}")["last_seen"] + SECOND
            query |= {"since": until - int((last + 1) * SECOND), "until": until}
        _write(client, f"/jobs/{segment(job or '')}/timeline", query, perfetto)


def _write(client: Client, path: str, query: dict[str, Any], file: Path) -> None:
    trace, headers = client.file(path, **query)
    if str(file) == "-":
        sys.stdout.buffer.write(trace)
        return
    try:
        file.write_bytes(trace)
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from None
    since = int(headers.get("offbeat-since", 0))
    left = (
        f"; the oldest {duration(short)} did not fit"
        if (short := (since - query.get("since", since)) / 1e9) > 0
        else ""
    )
    typer.echo(f"{file}: {len(trace):,} bytes{left}. Open it at https://ui.perfetto.dev, which sends it nowhere.")
