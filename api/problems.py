"""Errors as RFC 9457 `application/problem+json`, whoever raises them."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse

from offbeat.store import (
    BusyError,
    CursorError,
    HostClaimedError,
    NotFoundError,
    SchemaError,
    StateError,
    StoreError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

RETRY_SECONDS = 2
"""What a client is asked to wait when the store is behind; without it all agents come back at once, at once."""

_STORE = (
    # error, status, kind
    (NotFoundError, 404, "not-found"),
    (HostClaimedError, 409, "host-claimed"),
    (StateError, 409, "wrong-state"),
    (BusyError, 429, "too-many"),
    (CursorError, 400, "bad-cursor"),
    (UnavailableError, 503, "store-unavailable"),
    (SchemaError, 503, "schema-revision"),
)


class Problem(HTTPException):
    """A request that cannot be done, said in a way that programs and people can act on."""

    def __init__(
        self,
        status: int,
        detail: str,
        kind: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        """Describe the problem.

        Args:
            status: HTTP status.
            detail: One sentence about this occurrence.
            kind: Word that stays the same for this kind of problem; ends the `type` URN.
            headers: Further response headers.
            retry_after: Seconds to wait before another try, as `Retry-After`.
            extra: Further members of the problem object.
        """
        more = dict(headers or {})
        if retry_after is not None:
            more["Retry-After"] = str(retry_after)
        super().__init__(status_code=status, detail=detail, headers=more)
        self.kind = kind
        self.extra = extra

    def response(self) -> JSONResponse:
        """Return the answer that says so."""
        return _response(self.status_code, str(self.detail), self.kind, self.headers, self.extra)


def install(app: FastAPI) -> None:
    """Make every error of *app* a problem document."""
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(StoreError, _store)


async def _http(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Problem):
        return error.response()
    assert isinstance(error, StarletteHTTPException)
    return _response(error.status_code, str(error.detail), "", error.headers, {})


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [{"field": _place(item["loc"]), "message": item["msg"]} for item in error.errors()]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in fields)
    return _response(422, detail, "invalid-request", None, {"errors": fields})


async def _store(_: Request, error: Exception) -> JSONResponse:
    for class_, status, kind in _STORE:
        if isinstance(error, class_):
            headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
            # A database's own words stay in the log: they may quote statements and addresses.
            detail = "the store does not answer now; try again" if kind == "store-unavailable" else str(error)
            return _response(status, detail, kind, headers, {})
    raise error


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)


def _response(
    status: int, detail: str, kind: str, headers: Mapping[str, str] | None, extra: Mapping[str, Any]
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    body = {
        "type": f"urn:offbeat:problem:{kind}" if kind else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        **extra,
    }
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")
