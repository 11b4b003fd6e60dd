"""`offbeat nccl`: the recorder for NCCL jobs, a profiler plugin that NCCL loads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from offbeat.cli import render
from offbeat.cli.errors import CANNOT, CliError
from offbeat.cli.options import Form, Output
from offbeat.collector.recorders.nccl import build as plugin
from offbeat.collector.recorders.nccl.probe import ProbeError, probe
from offbeat.collector.ring.place import ring_directory

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The recorder for NCCL jobs: a profiler plugin that NCCL loads."
)

Place = Annotated[
    Path | None,
    typer.Option("--directory", "-d", help="Where the library is. [default: below ~/.local/share/offbeat/nccl]"),
]


@app.command()
def build(directory: Place = None) -> None:
    """Compile the plugin with this machine's C compiler, and print its path.

    A directory that all nodes share serves them all, if they have the same architecture and C library or a newer one.
    """
    try:
        typer.echo(plugin.build(directory))
    except plugin.BuildError as error:
        raise CliError(str(error)) from None


@app.command()
def path(directory: Place = None) -> None:
    """Print the path of the plugin, for NCCL_PROFILER_PLUGIN."""
    typer.echo(_library(directory))


@app.command()
def check(
    library: Annotated[Path | None, typer.Argument(help="The library. [default: what `path` prints]")] = None,
    output: Output = None,
) -> None:
    """Load the plugin as NCCL does: which versions of NCCL can use it, and whether what it writes can be read.

    Exit code 0 if so, 3 if not.
    """
    where = library or _library(None)
    if not where.is_file():
        raise CliError(f"{where}: no such file")
    try:
        offer = probe(where)
    except ProbeError as error:
        raise CliError(f"{where}: {error}") from None
    if output is Form.JSON:
        content = {"library": str(where), "ring_directory": str(ring_directory()), **asdict(offer)}
        render.print_json("offbeat.nccl/1", content)
    else:
        pairs = (
            ("library", str(where)),
            ("versions", ", ".join(f"v{version}" for version in offer.versions)),
            ("records", ", ".join(offer.events) or "nothing (OFFBEAT_NCCL_EVENTS)"),
            ("ring", offer.ring or f"written to {ring_directory()} and read back"),
        )
        render.console().print(render.facts((name, render.plain(value)) for name, value in pairs))
    if offer.ring:
        raise typer.Exit(CANNOT)


def _library(directory: Path | None) -> Path:
    found = plugin.library(directory)
    if found is None:
        raise CliError(f"not built in {directory or plugin.directory()}: run 'offbeat nccl build' first")
    return found
