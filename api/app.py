"""The application: resources, and what is around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from offbeat import __version__
from offbeat.api import (
    incidents,
    jobs,
    nodes,
    operations,
    orders,
    problems,
    session,
    stream,
    structure,
    telemetry,
    timeline,
    tokens,
    web,
    webhooks,
)
from offbeat.api.limits import BodyLimit
from offbeat.api.middleware import PREFIX, Surround
from offbeat.api.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.settings import ServiceSettings
    from offbeat.store import Bus, Store
    from offbeat.store.shards import Router

_DESCRIPTION = """Cluster telemetry and fault diagnosis for distributed GPU training.

Times are integer nanoseconds since the Unix epoch. Errors are RFC 9457 `application/problem+json`. Lists come in pages:
pass `next` back as `cursor`."""


def create_app(
    store: Store,
    bus: Bus,
    settings: ServiceSettings,
    *,
    analyzer_alive: Callable[[], bool] = lambda: True,
    router: Router | None = None,
) -> FastAPI:
    """Return the HTTP application over an open store.

    Args:
        store: What lasts.
        bus: Where accepted telemetry goes and changes come from.
        settings: The service's settings.
        analyzer_alive: Whether findings are being made, for `/readyz`.
        router: Spreads telemetry over shards; None hands all of it to one analyzer.
    """
    app = build()
    app.state.offbeat = State(store, bus, settings, analyzer_alive, router)
    return app


def build() -> FastAPI:
    """Return the application without a store: enough to describe it, not to serve."""
    app = FastAPI(
        title="Offbeat",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        # Their pages load scripts from elsewhere, which the content security policy forbids.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(Surround)
    api = APIRouter(prefix=PREFIX)
    # The stream comes before /incidents/{id}, which would take its name for an id.
    for resource in (
        telemetry, jobs, timeline, structure, stream, incidents, nodes, orders, webhooks, tokens, session,
    ):  # fmt: skip
        api.include_router(resource.router)
    app.include_router(api)
    app.include_router(operations.router)
    web.mount(app)
    return app
