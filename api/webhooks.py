"""/webhooks: who is told of incidents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, model_validator

from offbeat.api.access import Admin
from offbeat.api.deliveries import guard
from offbeat.api.deliveries.payloads import Kind
from offbeat.api.idempotency import RunOnce
from offbeat.api.problems import Problem
from offbeat.api.schemas import Items, NewWebhook, Webhook
from offbeat.api.state import Shared

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"

router = APIRouter(tags=["administration"])


class WebhookRequest(BaseModel):
    """Where incidents shall be sent, and in which form."""

    kind: Kind = Kind.OFFBEAT
    url: str = Field("", max_length=2000, description="http or https; PagerDuty's own address when empty")
    routing_key: str | None = Field(None, min_length=1, max_length=255, description="PagerDuty's integration key")

    @model_validator(mode="after")
    def _complete(self) -> WebhookRequest:
        if (self.kind is Kind.PAGERDUTY) != (self.routing_key is not None):
            raise ValueError("routing_key belongs to kind pagerduty, which needs it")
        if self.kind is Kind.PAGERDUTY:
            self.url = self.url or PAGERDUTY
        if not self.url:
            raise ValueError("url is missing")
        return self


@router.post("/webhooks", status_code=201, response_model=NewWebhook, summary="Add a webhook")
def add_webhook(body: WebhookRequest, state: Shared, principal: Admin, once: RunOnce) -> Any:
    """Add a place that is told when an incident opens and when it ends; its secret is shown only now."""
    try:
        guard.resolve(body.url, allow_private=bool(state.settings.webhook_allow_private))
    except guard.RefusedError as error:
        raise Problem(422, f"url: {error}", "webhook-refused") from None

    def act() -> dict[str, Any]:
        row, secret = state.store.webhooks.add(body.url, body.kind, secret=body.routing_key, who=principal.id)
        return {**asdict(row), "secret": None if body.routing_key else secret}

    return once(act, status=201, secret="secret")  # noqa: S106 - the name of a member


@router.get("/webhooks", response_model=Items[Webhook], summary="List webhooks")
def list_webhooks(state: Shared, _: Admin) -> dict[str, Any]:
    """List webhooks; their secrets are not shown again."""
    return {"items": [asdict(row) for row in state.store.webhooks.list()]}


@router.delete("/webhooks/{id}", status_code=204, summary="Remove a webhook")
def remove_webhook(state: Shared, principal: Admin, id: Annotated[str, Path(max_length=64)]) -> None:  # noqa: A002 - the path's own word
    """Remove a webhook; what it is still owed is dropped."""
    state.store.webhooks.remove(id, who=principal.id)
