"""`offbeat grafana publish`: the dashboards for Grafana, brought there.

grafana-client is in an extra of its own: it brings another urllib3 with it (docs/operations.md, "Grafana").
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaTimeoutError, GrafanaUnauthorizedError

from offbeat import dashboards
from offbeat.cli.errors import CliError
from offbeat.cli.options import DryRun

TIMEOUT_SECONDS = 20.0
"""How long Grafana may take to answer; without it a hung Grafana hangs the terminal."""
FOLDER_UID = "offbeat"
NOT_FOUND, FORBIDDEN = 404, 403

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def grafana() -> None:
    """Bring the dashboards to Grafana."""


@app.command(epilog="Example: offbeat grafana publish --grafana-url https://grafana.example.org --dry-run")
def publish(
    *,
    grafana_url: Annotated[str, typer.Option(envvar="GRAFANA_URL", help="Grafana's address.")],
    grafana_token: Annotated[
        str, typer.Option(envvar="GRAFANA_TOKEN", help="Token of a service account that may edit dashboards.")
    ] = "",
    folder: Annotated[str, typer.Option(help="Title of the folder, made when it is not there.")] = "Offbeat",
    dry_run: DryRun = False,
) -> None:
    """Make or renew the dashboards in Grafana, in place of those published before."""
    parts = urlsplit(grafana_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CliError(f"{grafana_url!r} is no address of a Grafana: it starts with http:// or https://", exit_code=64)
    models = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(dashboards.GRAFANA.glob("*.json"))]
    if dry_run:
        for model in models:
            typer.echo(f"would publish {model['title']} ({model['uid']}) to {grafana_url}")
        return
    with _told(grafana_url):
        # Without the slash the library joins a path and "api" to one word.
        address = grafana_url.rstrip("/") + "/"
        api = GrafanaApi.from_url(address, grafana_token or None, timeout=TIMEOUT_SECONDS)
        uid = _folder(api, folder)
        for model in models:
            done = api.dashboard.update_dashboard(
                {"dashboard": model, "folderUid": uid, "overwrite": True, "message": "offbeat grafana publish"}
            )
            typer.echo(f"{model['title']}: {grafana_url.rstrip('/')}{done.get('url', '')}")


def _folder(api: Any, title: str) -> str:
    try:
        api.folder.get_folder(FOLDER_UID)
    except GrafanaClientError as error:
        if error.status_code != NOT_FOUND:
            raise
        api.folder.create_folder(title, uid=FOLDER_UID)
    return FOLDER_UID


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Say in one line what went wrong with the Grafana at *url*."""
    try:
        yield
    except GrafanaTimeoutError:
        raise CliError(f"{url} did not answer within {TIMEOUT_SECONDS:g} s") from None
    except GrafanaUnauthorizedError:
        raise CliError(f"{url} does not know this token: set GRAFANA_TOKEN or give --grafana-token") from None
    except GrafanaException as error:
        if error.status_code == FORBIDDEN:
            raise CliError(f"{url}: this token may not edit dashboards and folders") from None
        raise CliError(f"{url}: {error.message}") from None
    except (ValueError, OSError) as error:
        raise CliError(f"{url} did not answer as a Grafana does: {error}") from None
