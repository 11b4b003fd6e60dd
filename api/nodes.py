"""/nodes: the hosts that report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from offbeat.api import node_series, paging
from offbeat.api.access import Viewer
from offbeat.api.paging import Cursor, Limit
from offbeat.api.problems import Problem
from offbeat.api.schemas import Items, Node, NodeDetail, NodeSeries
from offbeat.api.state import Shared
from offbeat.store import NotFoundError

SECOND = 1_000_000_000
STRETCH = 900 * SECOND
"""What is shown when nobody says since when, ns."""
LONGEST = 6 * 3600 * SECOND
"""Longest stretch in one answer, ns; without it one request reads the day of a host out of everybody's segments."""
SERIES_AT_MOST, EVENTS_AT_MOST = 600, 1000

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


@router.get("/nodes/{host}/series", response_model=NodeSeries, summary="Give what a host measured")
def node_series_of(
    *,
    state: Shared,
    _: Viewer,
    host: Annotated[str, Path(max_length=255)],
    since: Annotated[int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: 15 min before until")] = None,
    until: Annotated[int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: last heard")] = None,
    points: Annotated[int, Query(ge=2, le=5000, description="of a series at most; extremes are kept")] = 400,
) -> dict[str, Any]:
    """Give the gauges of a host's devices and what its kernel and devices said, over at most six hours.

    Counters are given as growth a second.
    """
    row = state.store.nodes.get(host)
    if row is None:
        raise NotFoundError(f"there is no host {host!r}")
    until = row.last_seen + SECOND if until is None else until
    since = max(0, until - STRETCH) if since is None else since
    if not 0 < until - since <= LONGEST:
        raise Problem(422, f"a stretch is at most {LONGEST // SECOND} s long: since must be that close before until")
    read = state.store.telemetry.read
    gauges = read("gauges", host=host, since=since, until=until)
    found, left = node_series.series(gauges, points, SERIES_AT_MOST)
    told = node_series.events(read("events", host=host, since=since, until=until), EVENTS_AT_MOST)
    return {"host": host, "since": since, "until": until, "series": found, "left_out": left, "events": told}
