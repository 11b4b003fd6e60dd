"""/livez, /readyz, /metrics, /version: what those who run the service ask."""

from __future__ import annotations

import platform

from fastapi import APIRouter, Request
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from offbeat import __version__, metrics
from offbeat.api.state import Shared
from offbeat.store import SchemaError, StoreError

router = APIRouter(tags=["operations"])


class Version(BaseModel):
    """What runs here."""

    version: str
    python: str


class Ready(BaseModel):
    """Each part the service needs, and whether it works: `ok`, or what is wrong."""

    ready: bool
    checks: dict[str, str]


@router.head("/livez", include_in_schema=False)  # what some load balancers ask by
@router.get("/livez", summary="Say that the process answers")
async def livez() -> dict[str, str]:
    """Answer without asking any other part: a restart would not mend a database."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready}}, summary="Say whether work can be done")
def readyz(state: Shared) -> JSONResponse:
    """Check the database, its schema revision, and that findings are being made."""
    checks = {"database": "ok", "schema": "ok", "analyzer": "ok" if state.analyzer_alive() else "not running"}
    try:
        state.store.ping()
    except SchemaError as error:
        checks["schema"] = str(error)
    except StoreError:
        checks["database"] = "does not answer"
        checks["schema"] = "unknown"
    if state.stopping:
        checks["service"] = "stopping"
    ready = all(value == "ok" for value in checks.values())
    return JSONResponse({"ready": ready, "checks": checks}, 200 if ready else 503)


@router.get("/metrics", response_class=Response, summary="Give the service's own metrics")
def exposition(request: Request) -> Response:
    """Return metrics as Prometheus text, or OpenMetrics when asked for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(metrics.REGISTRY), headers={"Content-Type": content_type})


@router.get("/version", summary="Say which version runs")
async def version() -> Version:
    """Return the version of the program."""
    return Version(version=__version__, python=platform.python_version())
