"""`offbeat worker`: the analyzers of a service that runs as several processes."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from offbeat.analyzer.worker import Worker
from offbeat.api import duties
from offbeat.api.observer import Observer
from offbeat.cli import logs
from offbeat.cli.errors import CliError
from offbeat.cli.options import load
from offbeat.settings import ServiceSettings
from offbeat.store import StoreError, open_store
from offbeat.store.redis_bus import RedisBus

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: OFFBEAT_DATABASE_URL=postgresql://… OFFBEAT_REDIS_URL=redis://… offbeat worker")
def worker(
    *,
    data_dir: Annotated[Path | None, typer.Option(help="The data directory that all parts share.")] = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /metrics on this port of 127.0.0.1; 0: do not.")
    ] = 0,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console.")] = None,
) -> None:
    """Analyze jobs, send alerts and look after the store, beside any number of others.

    Workers share the jobs among themselves. When one dies, the others take its jobs over within seconds. It ends
    in order on SIGTERM or Ctrl-C.
    """
    settings = load(ServiceSettings, {"data_dir": data_dir, "log_format": log_format})
    logs.configure(settings.log_format)
    url = settings.redis_url.get_secret_value()
    if not url:
        raise CliError("OFFBEAT_REDIS_URL is not set: without Redis 'offbeat up' analyzes by itself", exit_code=64)
    if not settings.database_url:
        raise CliError("OFFBEAT_DATABASE_URL is not set: several processes need PostgreSQL", exit_code=64)
    ending = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: ending.set())
    try:
        with ExitStack() as stack:
            store = stack.enter_context(open_store(settings))
            bus = RedisBus(url, mark=store.telemetry.sealed_until)
            stack.callback(bus.close)
            if settings.tasks == "threads":
                allow = bool(settings.webhook_allow_private)
                stack.enter_context(duties.running(store, bus, allow_private=allow, public_url=settings.public_url))
            observer = Observer(store, shards=settings.shards)
            observer.start()
            stack.callback(observer.stop)
            if metrics_port:
                observer.serve(metrics_port)
            work = Worker(store, bus, bus, settings.shards)
            work.start()
            stack.callback(work.stop)
            typer.echo(f"Offbeat worker {work.name}")
            ending.wait()
    except (StoreError, OSError) as error:
        raise CliError(str(error)) from error
