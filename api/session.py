"""/session: how a browser logs in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from offbeat.api.access import COOKIE, authenticate, refuse
from offbeat.api.problems import Problem
from offbeat.api.sessions import SESSION_SECONDS
from offbeat.api.state import Shared
from offbeat.store import Principal, Role

router = APIRouter(tags=["session"])


class LogIn(BaseModel):
    """One of the two."""

    token: str | None = Field(None, max_length=512, description="a token of role viewer, operator or admin")
    code: str | None = Field(None, max_length=512, description="the one-time code of the address `offbeat up` printed")


class Session(BaseModel):
    """Who is logged in."""

    role: Role
    id: str = Field(description="id of the token behind the session")


@router.post("/session", summary="Log in a browser")
def log_in(body: LogIn, request: Request, response: Response, state: Shared) -> Session:
    """Exchange a token, or a one-time code, for a session cookie that scripts cannot read."""
    if (body.token is None) == (body.code is None):
        raise Problem(422, "give either token or code", "invalid-request")
    if body.code is not None:
        principal = state.sessions.redeem(body.code)
        if principal is None:
            raise refuse(request, state, "code", "the code is unknown, was used, or is too old; restart or use a token")
    else:
        principal = state.store.tokens.verify(body.token or "")
        if principal is None:
            raise refuse(request, state, "token", "the token is not known, or was revoked")
    if principal.role is Role.AGENT:
        raise Problem(403, "an agent's token does not log people in", "role")
    response.set_cookie(
        COOKIE,
        state.sessions.open(principal),
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        # Behind a proxy that ends TLS, the request itself came in plain.
        secure="https" in {request.url.scheme, urlsplit(state.settings.public_url).scheme},
    )
    return Session(role=principal.role, id=principal.id)


@router.get("/session", summary="Say who is logged in")
def who(principal: Annotated[Principal, Depends(authenticate)]) -> Session:
    """Return the caller's role."""
    return Session(role=principal.role, id=principal.id)


@router.delete("/session", status_code=204, summary="Log out")
def log_out(request: Request, response: Response, state: Shared) -> None:
    """End the session of the cookie; without one there is nothing to end."""
    if cookie := request.cookies.get(COOKIE):
        state.sessions.close(cookie)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
