"""`offbeat agent`: the node agent."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from offbeat.cli import logs
from offbeat.cli.client import local_token
from offbeat.cli.errors import CliError
from offbeat.cli.options import Form, load
from offbeat.collector.agent import Agent, AgentError, once
from offbeat.collector.spool import SpoolError
from offbeat.collector.uplink import UplinkError
from offbeat.settings import AgentSettings

if TYPE_CHECKING:
    import pyarrow as pa

USAGE = 64
_SAMPLE_ROWS = 5

app = typer.Typer(add_completion=False)


@app.command()
def agent(
    *,
    host: Annotated[str | None, typer.Option(help="Name of this host; its token is bound to it.")] = None,
    url: Annotated[str | None, typer.Option(help="The service: http://, https:// or unix:///path.")] = None,
    token: Annotated[str | None, typer.Option(help="Agent token; better in OFFBEAT_TOKEN or the config file.")] = None,
    ring_dir: Annotated[Path | None, typer.Option(help="Where recorders put their rings.")] = None,
    spool_dir: Annotated[Path | None, typer.Option(help="Where to keep what is not yet delivered.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; default OFFBEAT_CONFIG.")] = None,
    run_once: Annotated[bool, typer.Option("--once", help="Print what would be sent now, send nothing.")] = False,
    output: Annotated[Form, typer.Option(help="Format of --once.")] = Form.TABLE,
) -> None:
    """Run the node agent beside a training job.

    It finds the rings of all jobs on this host by itself, and needs no root rights, though with them it sees more.
    Beside a service of the same account on this machine it needs no token.

    Example: offbeat agent --url https://offbeat.example:8844 --host node0001
    """
    logs.configure()
    settings = _settings(config, host=host, url=url, token=token, ring_dir=ring_dir, spool_dir=spool_dir)
    try:
        if run_once:
            _print(settings, once(settings), output)
            return
        daemon = Agent(settings)
    except (AgentError, SpoolError, UplinkError) as error:
        raise CliError(str(error), USAGE) from None
    code = _run(daemon)
    if code:
        raise CliError(daemon.uplink.fatal or "the agent failed", code)


def _run(daemon: Agent) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return daemon.run(stop)
    finally:
        daemon.close()


def _settings(config: Path | None, **flags: Any) -> AgentSettings:
    if config is not None:
        if not config.is_file():
            raise CliError(f"no such file: {config}", USAGE)
        os.environ["OFFBEAT_CONFIG"] = str(config)
    settings = load(AgentSettings, flags)
    if settings.token.get_secret_value():
        return settings
    return settings.model_copy(update={"token": SecretStr(local_token(settings.url))})


def _print(settings: AgentSettings, tables: dict[str, pa.Table], output: Form) -> None:
    if output is Form.JSON:
        value = {
            "schema": "offbeat.agent-once/1",
            "host": settings.host,
            "url": settings.url,
            "tables": {
                name: {"rows": table.num_rows, "sample": _sample(table, _SAMPLE_ROWS)} for name, table in tables.items()
            },
        }
        sys.stdout.write(json.dumps(value, indent=1) + "\n")
        return
    shown = Table("table", "rows", "first row")
    for name, table in sorted(tables.items()):
        first = ", ".join(f"{key}={value}" for row in _sample(table, 1) for key, value in row.items())
        shown.add_row(name, str(table.num_rows), first)
    console = Console()
    console.print(shown)
    console.print(f"This is what host {settings.host} would send to {settings.url} now.")


def _sample(table: pa.Table, rows: int) -> list[dict[str, Any]]:
    """Return the first rows without their empty columns."""
    found = table.slice(0, rows).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in found]
