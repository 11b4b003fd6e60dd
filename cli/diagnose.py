"""`offbeat diagnose`: name what is wrong in dumps, logs or captures, without a service."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from offbeat.analyzer.diagnose import diagnose as diagnose_paths
from offbeat.analyzer.topology import load as load_topology
from offbeat.cli.diagnosis_text import render
from offbeat.cli.errors import CliError

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How the diagnosis is printed."""

    TEXT = "text"
    JSON = "json"


@app.command(
    epilog="Exit code: 0 healthy, 1 not healthy, 3 could not tell (nothing readable, or nothing but doubts), 64 usage."
)
def diagnose(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files or directories: PyTorch Flight Recorder dumps (pickle or JSON), NCCL Inspector logs, Offbeat "
            "captures, straggler traces. What each is, is told by its content.",
        ),
    ],
    output: Annotated[Format, typer.Option("--format", help="text for people, json for programs.")] = Format.TEXT,
    job: Annotated[
        str | None, typer.Option(help="Name of the job; of several in a capture, the one to look at.")
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="Hosts with racks and network adapters: Parquet, CSV or JSON.")
    ] = None,
) -> None:
    """Name what is wrong in dumps, logs or captures; needs no service."""
    try:
        places = load_topology(topology) if topology is not None else None
    except ValueError as error:
        raise CliError(f"--topology {topology}: {error}") from None
    diagnosis = diagnose_paths(paths, job=job, topology=places)
    if output is Format.JSON:
        typer.echo(json.dumps(diagnosis.to_dict(), indent=2, default=str))
    else:
        typer.echo(render(diagnosis))
    raise typer.Exit(diagnosis.exit_code)
