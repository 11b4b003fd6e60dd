"""/agents/{host}/orders: what nodes are asked to do, pulled by their agents over their own connection."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from offbeat import orders
from offbeat.api.access import Operator, Sender, Viewer
from offbeat.api.idempotency import RunOnce
from offbeat.api.paging import Cursor, Limit
from offbeat.api.problems import Problem
from offbeat.api.schemas import Items, Order
from offbeat.api.state import Shared
from offbeat.store import Principal

LONGEST_WAIT = 55.0
"""Seconds that a call may wait for an order; longer, and proxies between break it off."""
LOOK_SECONDS = 0.5
"""How often a waiting call looks whether something came; all of them share one question to the database."""

Host = Annotated[str, Path(max_length=255)]
router = APIRouter(tags=["orders"])


class OrderRequest(BaseModel):
    """A template of the node's configuration, and its arguments."""

    kind: Literal["bounds", "drill_down"]
    arguments: dict[str, Any]
    seconds: float = Field(600.0, gt=0, le=86_400, description="how long it may wait to be carried out")


class OrderResult(BaseModel):
    """What became of an order."""

    state: Literal["done", "failed", "refused"]
    result: dict[str, Any] = Field(default_factory=dict, max_length=64, description="what there is to say about it")


@router.get("/agents/{host}/orders", response_model=Items[Order], summary="Wait for orders")
async def wait_for_orders(
    state: Shared,
    principal: Sender,
    host: Host,
    after: Annotated[int, Query(ge=0, lt=1 << 62, description="the largest number seen")] = 0,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for one")] = 25.0,
) -> dict[str, Any]:
    """Return the orders of a host that wait to be carried out; none yet, and the answer waits with them.

    An agent asks for its own host alone.
    """
    _own(principal, host)
    with state.waits.place():
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            if await to_thread.run_sync(state.mailbox.newest, host) > after:
                found = await to_thread.run_sync(state.store.orders.waiting, host, after)
                if found:
                    return {"items": [asdict(row) for row in found]}
            left = until - loop.time()
            if left <= 0 or state.stopping:
                return {"items": []}
            await asyncio.sleep(min(LOOK_SECONDS, left))


@router.post("/agents/{host}/orders", status_code=201, response_model=Order, summary="Give an order")
def give_order(body: OrderRequest, state: Shared, principal: Operator, host: Host, once: RunOnce) -> Any:
    """Ask a node for something: to use learned `bounds`, or to `drill_down` into what it kept.

    The node carries out what its own configuration allows, and answers.
    """
    try:
        arguments = orders.check(body.kind, body.arguments)
    except orders.OrderError as error:
        raise Problem(422, str(error), "bad-order") from None
    give = state.store.orders.give
    values = arguments.model_dump()
    return once(lambda: asdict(give(host, body.kind, values, who=principal.id, seconds=body.seconds)), status=201)


@router.post("/agents/{host}/orders/{id}/result", response_model=Order, summary="Answer an order")
def answer_order(
    body: OrderResult,
    state: Shared,
    principal: Sender,
    host: Host,
    id: Annotated[int, Path(ge=1, lt=1 << 62)],  # noqa: A002 - the path's own word
) -> Any:
    """Say what became of an order. The first answer stays; the same call again changes nothing."""
    _own(principal, host)
    return asdict(state.store.orders.finish(host, id, body.state, body.result, who=principal.id))


@router.get("/nodes/{host}/orders", response_model=Items[Order], summary="List the orders of a host")
def list_orders(state: Shared, _: Viewer, host: Host, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """List what a host was asked to do, the latest first, and what became of it."""
    page = state.store.orders.list(host, cursor, limit)
    return {"items": [asdict(row) for row in page.items], "next": page.next}


def _own(principal: Principal, host: str) -> None:
    if principal.host is not None and principal.host != host:
        raise Problem(403, f"the token is bound to host {principal.host}", "foreign-host")
