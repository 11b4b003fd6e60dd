"""/tokens: who is let in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, model_validator

from offbeat.api.access import Admin
from offbeat.api.idempotency import RunOnce
from offbeat.api.schemas import Items, NewToken, Token
from offbeat.api.state import Shared
from offbeat.store import Role

HOST = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"

router = APIRouter(tags=["administration"])


class TokenRequest(BaseModel):
    """What a token shall be good for."""

    role: Role
    host: str | None = Field(None, pattern=HOST, description="the only host an agent may report")
    note: str = Field("", max_length=500, description="whom it is for")

    @model_validator(mode="after")
    def _agents_have_a_host(self) -> TokenRequest:
        if (self.role is Role.AGENT) != (self.host is not None):
            raise ValueError("a token of role agent names its host; other roles have none")
        return self


@router.post("/tokens", status_code=201, response_model=NewToken, summary="Make a token")
def create_token(body: TokenRequest, state: Shared, principal: Admin, once: RunOnce) -> Any:
    """Make a token; the answer is the only place where it can be read."""

    def act() -> dict[str, Any]:
        text, row = state.store.tokens.create(body.role, host=body.host, note=body.note, who=principal.id)
        return {**asdict(row), "token": text}

    return once(act, status=201, secret="token")  # noqa: S106 - the name of a member


@router.get("/tokens", response_model=Items[Token], summary="List tokens")
def list_tokens(state: Shared, _: Admin) -> dict[str, Any]:
    """List tokens, revoked ones too; what they were is not kept."""
    return {"items": [asdict(row) for row in state.store.tokens.list()]}


@router.delete("/tokens/{id}", status_code=204, summary="Revoke a token")
def revoke_token(state: Shared, principal: Admin, id: Annotated[str, Path(max_length=64)]) -> None:  # noqa: A002 - the path's own word
    """Refuse a token from now on, and end the sessions it opened."""
    state.store.tokens.revoke(id, who=principal.id)
    state.sessions.close_all(id)
