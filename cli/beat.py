"""`offbeat beat`: the clock of the tasks."""

from __future__ import annotations

import typer

from offbeat.api import tasks as celery
from offbeat.cli.tasks import configured

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: OFFBEAT_TASKS=celery offbeat beat")
def beat() -> None:
    """Say when the tasks are due. One is enough; two do no harm, as tasks look for what is left to do."""
    celery.connect(configured()).Beat(loglevel="WARNING", quiet=True).run()
