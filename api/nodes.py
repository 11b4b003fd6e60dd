"""/nodes: the hosts that report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path

from offbeat.api import paging
from offbeat.api.access import Viewer
from offbeat.api.paging import Cursor, Limit
from offbeat.api.schemas import Items, Node, NodeDetail
from offbeat.api.state import Shared
from offbeat.store import NotFoundError

router = APIRouter(tags=["nodes"])


@router.get("/nodes", response_model=Items[Node], summary="List hosts")
def list_nodes(state: Shared, _: Viewer, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """List hosts by name."""
    page = paging.cut(state.store.nodes.list(), lambda row: row.host, cursor, limit)
    return {"items": [asdict(row) for row in page.items], "next": page.next}


@router.get("/nodes/{host}", response_model=NodeDetail, summary="Show one host")
def get_node(state: Shared, _: Viewer, host: Annotated[str, Path(max_length=255)]) -> dict[str, Any]:
    """Show a host and the ranks it runs."""
    row = state.store.nodes.get(host)
    if row is None:
        raise NotFoundError(f"there is no host {host!r}")
    conflict = state.store.nodes.conflict(host)
    lost = state.store.telemetry.lost(host)
    return {**asdict(row), "conflict": None if conflict is None else asdict(conflict), "lost_batches": lost}
