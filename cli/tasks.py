"""`offbeat tasks`: the Celery worker."""

from __future__ import annotations

from typing import Annotated

import typer

from offbeat.api import tasks as celery
from offbeat.cli import logs
from offbeat.cli.errors import CliError
from offbeat.cli.options import load
from offbeat.settings import ServiceSettings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: OFFBEAT_TASKS=celery offbeat tasks --threads 8")
def tasks(
    *,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Tasks carried out at once.")] = 8,
) -> None:
    """Send alerts and clean up, as tasks of Celery; needs `offbeat beat`, and OFFBEAT_TASKS=celery at the workers."""
    settings = configured()
    # Threads: tasks wait for receivers and the database, and share one store.
    options = [
        "--pool=threads",
        f"--concurrency={threads}",
        "--without-gossip",
        "--without-mingle",
        "--loglevel=WARNING",
    ]
    celery.connect(settings).worker_main(["worker", *options])


def configured() -> ServiceSettings:
    """Return the settings of a process that runs Celery, with its log configured.

    Raises:
        CliError: They name no Redis or no PostgreSQL.
    """
    settings = load(ServiceSettings, {})
    logs.configure(settings.log_format)
    for name, value in (("REDIS_URL", settings.redis_url.get_secret_value()), ("DATABASE_URL", settings.database_url)):
        if not value:
            raise CliError(f"OFFBEAT_{name} is not set: without it 'offbeat up' does this by itself", exit_code=64)
    return settings
