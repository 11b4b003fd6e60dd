"""`offbeat up`: the whole service in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from offbeat.api import service
from offbeat.cli import logs
from offbeat.cli.errors import CliError
from offbeat.cli.options import load
from offbeat.settings import ServiceSettings
from offbeat.store import StoreError

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: offbeat up --listen 0.0.0.0 --data-dir /var/lib/offbeat")
def up(
    *,
    listen: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. [default: 8844]")
    ] = None,
    unix: Annotated[Path | None, typer.Option(help="Listen on this Unix socket, too.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Database, records and secrets. [default: ~/.local/share/offbeat]")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL instead of the file in the data directory.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console.")] = None,
) -> None:
    """Run the service: API, analyzer, alerts and dashboard in one process.

    The address that it prints logs a browser in, once. It ends in order on SIGTERM or Ctrl-C.
    """
    given: dict[str, Any] = {
        "listen": listen,
        "port": port,
        "unix_socket": unix,
        "data_dir": data_dir,
        "database_url": database_url,
        "log_format": log_format,
    }
    settings = load(ServiceSettings, given)
    logs.configure(settings.log_format)
    try:
        service.run(settings, _say)
    except StoreError as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(_reason(error, settings)) from error


def _say(started: service.Started) -> None:
    typer.echo(f"Offbeat listens on {started.url}")
    typer.echo(f"Dashboard: {started.login_url}   (logs in once, within ten minutes)")


def _reason(error: OSError, settings: ServiceSettings) -> str:
    what = error.strerror or str(error)
    where = error.filename or f"{settings.listen}:{settings.port}"
    return f"cannot use {where}: {what}"
