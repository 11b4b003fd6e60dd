"""`offbeat demo`: the main job, for real, on one machine."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer
from rich.console import Console

from offbeat.cli.demo.interrupts import end_in_order
from offbeat.cli.errors import CliError

app = typer.Typer(add_completion=False)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@app.command()
def demo(
    *,
    stay: Annotated[bool, typer.Option(help="Keep service and dashboard up at the end, until Ctrl-C.")] = False,
    plain: Annotated[bool, typer.Option(help="Use plain processes, even where network namespaces can be had.")] = False,
    seed: Annotated[int | None, typer.Option(help="Which ranks and which host are hit; otherwise by chance.")] = None,
) -> None:
    """Train a small real job, break it, and see each fault named.

    Starts the service, four hosts with an agent each and a real training job of eight processes; then makes one rank
    slow, one host's network slow, stops a rank and kills one. The service is not told; what it finds is read from its
    public API. Exits with 0 only if all were named right and nobody else was.
    """
    if importlib.util.find_spec("torch") is None:
        raise CliError("'offbeat demo' needs torch, which is not installed: pip install 'offbeat[demo]'")
    from offbeat.cli.demo.run import run  # noqa: PLC0415 - `offbeat demo --help` needs none of it
    from offbeat.cli.demo.service import ServiceError  # noqa: PLC0415 - see above
    from offbeat.cli.demo.trial import TrialError  # noqa: PLC0415 - see above

    end_in_order()
    try:
        right = run(Console(), seed=seed, plain=plain, stay=stay)
    except (ServiceError, TrialError) as error:
        raise CliError(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(0 if right else 1)
