"""`offbeat keeper`: the process that keeps snapshots."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from offbeat.cli import logs
from offbeat.cli.errors import CliError
from offbeat.cli.options import load
from offbeat.collector.notify import notify
from offbeat.recovery.memory.budget import BudgetError, limit
from offbeat.recovery.memory.keeper import Keeper
from offbeat.recovery.memory.vault import VaultError
from offbeat.settings import KeeperSettings

USAGE = 64

app = typer.Typer(add_completion=False)


@app.command()
def keeper(
    *,
    host: Annotated[str | None, typer.Option(help="Name of this host, as in the roster.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where snapshots lie, on a tmpfs.")] = None,
    slots: Annotated[int | None, typer.Option(help="Slots a rank.")] = None,
) -> None:
    """Keep snapshots of the training jobs of this host in memory.

    It runs as the user whose jobs it serves. What it holds survives trainers, and the keeper itself.

    Example: offbeat keeper --host node0001
    """
    logs.configure()
    settings = load(KeeperSettings, {"host": host, "keeper_dir": directory, "keeper_slots": slots})
    try:
        daemon = Keeper(
            settings.keeper_dir, settings.host, memory=limit(settings.keeper_memory_share), **_tuning(settings)
        )
    except (VaultError, BudgetError, OSError) as error:
        raise CliError(str(error), USAGE) from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    daemon.start()
    notify("READY=1")
    try:
        stop.wait()
    finally:
        notify("STOPPING=1")
        daemon.close()


def _tuning(settings: KeeperSettings) -> dict[str, Any]:
    return {
        "slots": settings.keeper_slots,
        "commit_seconds": settings.keeper_commit_seconds,
        "keep_hours": settings.keeper_keep_hours,
        "rosters": settings.keeper_rosters,
        "rate": settings.keeper_rate_mbit * 1e6 / 8,
    }
