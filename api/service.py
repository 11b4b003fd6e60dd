"""The service: store, bus and web server; without Redis analyzer, alerts and retention, too, all in one process."""

from __future__ import annotations

import functools
import ipaddress
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from offbeat.analyzer.live import Analyzer
from offbeat.api import duties
from offbeat.api.app import create_app
from offbeat.api.observer import Observer
from offbeat.api.serving import Server, listen_tcp, listen_unix, url_of
from offbeat.api.setup_token import ensure_admin
from offbeat.store import InProcessBus, open_store
from offbeat.store.redis_bus import RedisBus
from offbeat.store.shards import Router

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.settings import ServiceSettings
    from offbeat.store import Bus

ANALYZER_SILENT_SECONDS = 15.0
"""Time without a look of the rules after which the analyzer counts as not running."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """What people need to know of a service that runs.

    Args:
        url: Where it listens.
        login_url: Opens the dashboard and logs in, once.
    """

    url: str
    login_url: str


def run(settings: ServiceSettings, started: Callable[[Started], None]) -> None:
    """Run the service until SIGTERM or SIGINT, then end in order.

    Args:
        settings: Its settings.
        started: Called once, when it listens.

    Raises:
        StoreError: The store cannot be opened.
        OSError: An address or the data directory cannot be used.
    """
    with ExitStack() as stack:
        # Listening first: a taken port must not cost the running service its database.
        listeners = [stack.enter_context(listen_tcp(settings.listen, settings.port))]
        if settings.unix_socket is not None:
            listeners.append(stack.enter_context(listen_unix(settings.unix_socket)))
            stack.callback(settings.unix_socket.unlink, missing_ok=True)
        allow_private = settings.webhook_allow_private
        if allow_private is None:
            allow_private = is_loopback(settings.listen)
        if not is_loopback(settings.listen):
            _log.warning("other machines can connect, without TLS: put a proxy that ends TLS in front")
        local = url_of(listeners[0])
        url = settings.public_url or _from_afar(local, settings.listen)
        settings = settings.model_copy(update={"webhook_allow_private": allow_private, "public_url": url})
        store = stack.enter_context(open_store(settings))
        redis_url = settings.redis_url.get_secret_value()
        alive: Callable[[], bool] = lambda: True  # noqa: E731 - replicas answer for themselves, not for the workers
        router = None
        if redis_url:
            bus: Bus = RedisBus(redis_url, mark=store.telemetry.sealed_until)
            stack.callback(bus.close)
            router = Router(settings.shards)
        else:
            bus = InProcessBus()
            stack.callback(bus.close)
            analyzer = Analyzer(store, bus)
            analyzer.start()
            stack.callback(analyzer.stop)
            alive = functools.partial(_looked, analyzer)
            stack.enter_context(duties.running(store, bus, allow_private=allow_private, public_url=url))
        observer = Observer(store, shards=settings.shards if redis_url else 0)
        observer.start()
        stack.callback(observer.stop)
        app = create_app(store, bus, settings, analyzer_alive=alive, router=router)
        admin = ensure_admin(store, settings.admin_token_file)
        code = app.state.offbeat.sessions.code(admin)
        started(Started(local, f"{local}/#login={code}"))
        Server(app).run(sockets=listeners)
        _log.info("ending")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_afar(local: str, listen: str) -> str:
    """Return the URL for links in alerts, which are read on other machines where those can connect."""
    if listen not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return local
    return f"http://{socket.gethostname()}:{local.rpartition(':')[2]}"


def _looked(analyzer: Analyzer) -> bool:
    return time.time_ns() - analyzer.looked_at < ANALYZER_SILENT_SECONDS * 1e9
