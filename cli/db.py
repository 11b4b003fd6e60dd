"""`offbeat db`: look after the database."""

from __future__ import annotations

from contextlib import closing

import typer

from offbeat.cli.errors import CliError
from offbeat.settings import ServiceSettings
from offbeat.store import StoreError, schema
from offbeat.store.engine import Database

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Look after the database.")


@app.callback()
def _group() -> None:
    """Keep `upgrade` a command of its own: a group with one command would otherwise become that command."""


@app.command()
def upgrade() -> None:
    """Bring the database to the schema this program needs; nothing to do is fine.

    The embedded database is brought forward whenever the service starts. A PostgreSQL database is not: run this first,
    once, before the new version starts.
    """
    try:
        database = Database(ServiceSettings().sql_url)
        with closing(database):
            before = schema.current(database)
            schema.upgrade(database)
            after = schema.current(database)
    except (StoreError, OSError) as error:
        raise CliError(str(error)) from None
    where = database.engine.url.render_as_string(hide_password=True)
    change = f"at {after}, as it was" if before == after else f"{before or 'empty'} -> {after}"
    typer.echo(f"{where}: {change}")
