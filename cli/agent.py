"""`offbeat agent`: the node agent."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from enum import StrEnum
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
from offbeat.collector.dry import watch
from offbeat.collector.sources.injected import put
from offbeat.collector.spool import SpoolError
from offbeat.collector.uplink import UplinkError
from offbeat.settings import AgentSettings

if TYPE_CHECKING:
    import pyarrow as pa

USAGE = 64
TAKEN_SECONDS = 5.0
"""How long `inject` waits for the agent; it looks four times a second."""
_SAMPLE_ROWS = 5

app = typer.Typer(add_completion=False, invoke_without_command=True)


class Sink(StrEnum):
    """Where batches go."""

    SERVICE = "service"
    STDOUT = "stdout"


Config = Annotated[Path | None, typer.Option(help="TOML file of settings; default OFFBEAT_CONFIG.")]
SpoolDir = Annotated[Path | None, typer.Option(help="Where to keep what is not yet delivered.")]


@app.callback()
def agent(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Name of this host; its token is bound to it.")] = None,
    url: Annotated[str | None, typer.Option(help="The service: http://, https:// or unix:///path.")] = None,
    token: Annotated[str | None, typer.Option(help="Agent token; better in OFFBEAT_TOKEN or the config file.")] = None,
    ring_dir: Annotated[Path | None, typer.Option(help="Where recorders put their rings.")] = None,
    spool_dir: SpoolDir = None,
    config: Config = None,
    run_once: Annotated[
        bool, typer.Option("--once", help="Read once, print what would be sent, send nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; send and change nothing.")
    ] = False,
    sink: Annotated[Sink, typer.Option(help="stdout: print every row as a line of JSON; send nothing.")] = Sink.SERVICE,
    output: Annotated[Form, typer.Option(help="Format of --once.")] = Form.TABLE,
) -> None:
    """Run the node agent beside a training job.

    It finds the rings of all jobs on this host by itself, and needs no root rights, though with them it sees more.
    Beside a service of the same account on this machine it needs no token.

    Example: offbeat agent --url https://offbeat.example:8844 --host node0001
    """
    if context.invoked_subcommand is not None:
        return
    logs.configure()
    settings = _settings(config, host=host, url=url, token=token, ring_dir=ring_dir, spool_dir=spool_dir)
    try:
        if run_once:
            found = once(settings)
            if sink is Sink.STDOUT:
                _print_rows(found)
            else:
                _print(settings, found, output)
            return
        if dry_run or sink is Sink.STDOUT:
            watch(settings, _stop_on_signals(), _print_rows if sink is Sink.STDOUT else _print_counts)
            return
        daemon = Agent(settings)
    except (AgentError, SpoolError, UplinkError) as error:
        raise CliError(str(error), USAGE) from None
    code = _run(daemon)
    if code:
        raise CliError(daemon.uplink.fatal or "the agent failed", code)


@app.command()
def inject(
    line: Annotated[str, typer.Argument(help="A line as the kernel writes it, without its time.")],
    *,
    really: Annotated[bool, typer.Option("--really", help="Needed: people may be paged for what is made up.")] = False,
    spool_dir: SpoolDir = None,
    config: Config = None,
) -> None:
    """Make up a line of the kernel's log, to see whether an alert finds its way.

    The agent on this host must allow it (OFFBEAT_INJECT=true), and takes it from whoever may write to its spool. The
    event says that it was made up.

    Example: offbeat agent inject --really 'NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus.'
    """
    if not really:
        raise CliError("people may be paged for what is made up: say --really", USAGE)
    directory = _settings(config, spool_dir=spool_dir).spool_dir / "inject"
    try:
        path = put(directory, line)
    except ValueError as error:
        raise CliError(str(error), USAGE) from None
    except OSError as error:
        raise CliError(f"{directory}: {error.strerror}; does the agent run with OFFBEAT_INJECT=true, as you?") from None
    deadline = time.monotonic() + TAKEN_SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            path.unlink(missing_ok=True)
            raise CliError("no agent took it: does one run here with OFFBEAT_INJECT=true and this spool?")
        time.sleep(0.05)
    Console().print("The agent has taken it.")


def _run(daemon: Agent) -> int:
    stop = _stop_on_signals()
    try:
        return daemon.run(stop)
    finally:
        daemon.close()


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _settings(config: Path | None, **flags: Any) -> AgentSettings:
    if config is not None:
        if not config.is_file():
            raise CliError(f"no such file: {config}", USAGE)
        os.environ["OFFBEAT_CONFIG"] = str(config)
    settings = load(AgentSettings, flags)
    if settings.token.get_secret_value():
        return settings
    return settings.model_copy(update={"token": SecretStr(local_token(settings.url))})


def _print_rows(tables: dict[str, pa.Table]) -> None:
    for name, table in tables.items():
        for row in _sample(table, table.num_rows):
            sys.stdout.write(json.dumps({"table": name, **row}) + "\n")
    sys.stdout.flush()


def _print_counts(tables: dict[str, pa.Table]) -> None:
    sys.stdout.write(json.dumps({"rows": {name: table.num_rows for name, table in tables.items()}}) + "\n")
    sys.stdout.flush()


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
