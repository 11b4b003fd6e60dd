"""`offbeat epochs`: what can be restored from memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from offbeat.cli import render
from offbeat.cli.errors import CliError
from offbeat.cli.options import DryRun, Form, Output, load
from offbeat.recovery.memory.budget import size
from offbeat.recovery.memory.client import KeeperClient, KeeperGoneError
from offbeat.recovery.memory.job import AbsentError
from offbeat.settings import KeeperSettings

app = typer.Typer(add_completion=False)


@app.command()
def epochs(
    job: Annotated[str | None, typer.Argument(help="The job; all of this host without it.")] = None,
    *,
    directory: Annotated[Path | None, typer.Option(help="Where the keeper is.")] = None,
    forget: Annotated[str | None, typer.Option(help="Give the memory of this job back instead.")] = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Show what can be restored from the memory of this host.

    Example: offbeat epochs --output json
    """
    settings = load(KeeperSettings, {"keeper_dir": directory})
    client = KeeperClient(settings.keeper_dir)
    try:
        if forget is not None:
            _forget(client, forget, dry_run=dry_run)
            return
        found = client.call("epochs", job=job)
    except (KeeperGoneError, AbsentError, PermissionError) as error:
        raise CliError(str(error)) from None
    finally:
        client.close()
    if output is Form.JSON:
        render.print_json("offbeat.epochs/1", found)
    elif not any(item["epochs"] for item in found["jobs"]):
        render.console().print("No snapshot is here.")
    else:
        heads = ("JOB~", "STEP>", "RANKS HERE~", "WHOLE~", "SIZE>", "SEALED>")
        rows = (_row(item, epoch, found["at"]) for item in found["jobs"] for epoch in item["epochs"])
        render.console().print(render.table(heads, rows))


def _row(item: dict[str, Any], epoch: dict[str, Any], now: int) -> tuple[Any, ...]:
    key = [epoch["generation"], epoch["step"]]
    whole = "on this host" if epoch["here"] else f"{len(epoch['ranks'])} of {epoch['world']} ranks here"
    words = [whole] + ["committed"] * (key == item["committed"]) + ["parity"] * epoch["parity"]
    return (
        render.plain(item["job"]),
        str(epoch["step"]),
        " ".join(map(str, epoch["ranks"])),
        ", ".join(words),
        size(epoch["bytes"]),
        render.since(epoch["sealed_at"], now),
    )


def _forget(client: KeeperClient, job: str, *, dry_run: bool) -> None:
    held = client.call("epochs", job=job)["jobs"][0]
    console = render.console()
    if dry_run:
        console.print(render.plain(f"{size(held['bytes'])} of job {job} would be given back"))
        return
    client.call("forget", job=job)
    console.print(render.plain(f"{size(held['bytes'])} of job {job} given back"))
