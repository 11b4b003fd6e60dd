"""Who may do what: bearer tokens for programs, a session cookie for the dashboard."""

from __future__ import annotations

import math
from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from offbeat import metrics
from offbeat.api.problems import Problem
from offbeat.api.state import Shared, State
from offbeat.store import Principal, Role

COOKIE = "offbeat_session"
REQUEST_HEADER = "Offbeat-Request"
"""A page of another origin cannot send it; without it such a page could act with a logged-in browser's cookie."""

_RANK = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_failures = metrics.counter("offbeat_api_auth_failures_total")
_log = structlog.get_logger(__name__)

_bearer = HTTPBearer(auto_error=False, description="A token made by `offbeat token create`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A session opened by POST /session.")


async def authenticate(
    request: Request,
    state: Shared,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Principal:
    """Return who sent *request*.

    Raises:
        Problem: Nobody known (401), a cookie without the header that keeps other origins out (403), or too many
            failures from this address (429).
    """
    if bearer is not None:
        principal = await to_thread.run_sync(state.store.tokens.verify, bearer.credentials)
        if principal is None:
            raise refuse(request, state, "token", "the token is not known, or was revoked")
        return principal
    if cookie:
        principal = state.sessions.find(cookie)
        if principal is None:
            raise _unauthorized("the session has ended; log in again")
        if request.method not in _SAFE and request.headers.get(REQUEST_HEADER) != "1":
            _failures.labels("cross_origin").inc()
            raise Problem(403, f"calls with a cookie that change something need the header {REQUEST_HEADER}: 1", "csrf")
        return principal
    raise _unauthorized("a token is needed: 'Authorization: Bearer …'")


def refuse(request: Request, state: State, reason: str, detail: str) -> Problem:
    """Count a failed log-in and return what to answer."""
    client = client_address(request)
    _failures.labels(reason).inc()
    wait = state.failures.failed(client)
    _log.warning("login refused", reason=reason, client=client, path=request.url.path)
    if wait > 0:
        return Problem(
            429, "too many failed log-ins from this address", "too-many-failures", retry_after=math.ceil(wait)
        )
    return _unauthorized(detail)


def client_address(request: Request) -> str:
    """Return the address *request* came from, or what stands for a Unix socket."""
    return request.client.host if request.client else "unix"


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, "unauthorized", headers={"WWW-Authenticate": 'Bearer realm="offbeat"'})


class _AtLeast:
    """Dependency: a principal whose role includes *role*."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
        if _RANK.get(principal.role, 0) < _RANK[self.role]:
            _failures.labels("role").inc()
            raise Problem(403, f"this needs the role {self.role}; the token's is {principal.role}", "role")
        return principal


async def _sender(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    if principal.role not in {Role.AGENT, Role.ADMIN}:
        _failures.labels("role").inc()
        raise Problem(403, f"telemetry needs a token of role agent; this one's is {principal.role}", "role")
    return principal


Viewer = Annotated[Principal, Depends(_AtLeast(Role.VIEWER))]
Operator = Annotated[Principal, Depends(_AtLeast(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(_AtLeast(Role.ADMIN))]
Sender = Annotated[Principal, Depends(_sender)]
