"""The `offbeat` command: a list of commands, each imported only when it runs.

The agent and `offbeat diagnose` live on the base install; loading every command to run one would ask them for the
service's libraries, and would make each start as slow as the slowest.

A command's module holds `app`, a `typer.Typer(add_completion=False)`: with one command and no callback it is that
command, otherwise a group.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from offbeat.cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 64
"""Exit code of a wrong command line (`EX_USAGE`); 1 and 2 would be read as an answer about a job's health."""

COMMANDS = {
    "up": "Run the service: API, analyzer, alerts and dashboard in one process.",
    "worker": "Analyze the jobs of a service that runs as several processes, over Redis.",
    "tasks": "Send alerts and clean up for a service that runs as several processes, with Celery.",
    "beat": "Say when the tasks are due; one of these is enough.",
    "agent": "Run the node agent beside a training job.",
    "keeper": "Keep snapshots of the training jobs of this host in memory.",
    "epochs": "Show what can be restored from the memory of this host.",
    "diagnose": "Name what is wrong in dumps, logs or captures; needs no service.",
    "simulate": "Write the capture of a simulated job with the faults you ask for.",
    "demo": "Train a small real job, break it, and see each fault named.",
    "status": "Show the service, its jobs and what is open, on one screen.",
    "jobs": "List jobs, or show one.",
    "incidents": "List incidents, show one, acknowledge, resolve or judge it.",
    "nodes": "List hosts, or show one.",
    "export": "Write a stretch of a job as a trace for Perfetto.",
    "grafana": "Bring the dashboards to Grafana.",
    "webhook": "Send alerts elsewhere: add, list, remove.",
    "token": "Let agents and people in: create, list, revoke.",
    "nccl": "The recorder for NCCL jobs: build it, find it, try it.",
    "db": "Look after the database.",
    "doctor": "Say what works on this machine, and what each missing part would add.",
    "version": "Print the version.",
}
"""Command → its line in the help. The module is `offbeat.cli.<command>`."""

_EPILOG = "Settings come from flags, then OFFBEAT_* variables, then the TOML file named by OFFBEAT_CONFIG."


class _LazyGroup(TyperGroup):
    """Knows names and help lines beforehand; imports a command when it is called."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, line in COMMANDS.items():
            self.commands[name] = TyperCommand(name=name, help=line, callback=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:
            return name, placeholder, rest
        return name, load(name), rest


def load(name: str) -> Any:
    """Import the command *name*.

    Raises:
        CliError: A library that it needs is not installed.
    """
    try:
        module = importlib.import_module(f"offbeat.cli.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "offbeat"}:
            raise
        extra = {"torch": "demo", "grafana_client": "grafana"}.get(missing, "service")
        raise CliError(
            f"'offbeat {name}' needs {missing}, which is not installed: pip install 'offbeat[{extra}]'"
        ) from None
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    cls=_LazyGroup,
    name="offbeat",
    help="Find the rank, GPU, NIC or link that falls off the beat of a distributed training job.",
    epilog=_EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Find the rank, GPU, NIC or link that falls off the beat of a distributed training job."""


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line *args* (default: the process's own).

    Returns:
        The exit code: 0, 1 (not healthy), 3 (could not tell, or could not do it), 64 (wrong usage).
    """
    try:
        app(args=args, prog_name="offbeat")
    except CliError as error:
        sys.stderr.write(f"offbeat: {error}\n")
        return error.exit_code
    except SystemExit as stop:
        # typer's own code for usage errors; no command of ours ends with it
        return USAGE_ERROR if stop.code == 2 else int(stop.code or 0)
    return 0


def main() -> NoReturn:
    """Run the process's command line and exit."""
    sys.exit(run())


if __name__ == "__main__":
    main()
