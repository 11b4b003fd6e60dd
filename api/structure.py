"""/jobs/{id}/delays and /communicators: which paths and which groups a job is made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query

from offbeat.analyzer import paths
from offbeat.analyzer.engine.facts import Hosts
from offbeat.analyzer.timeline.slices import newest
from offbeat.api.access import Viewer
from offbeat.api.schemas import Communicator, Delays, Items
from offbeat.api.state import Shared, State
from offbeat.store import NotFoundError

if TYPE_CHECKING:
    from offbeat.store import JobRow

SECOND = 1_000_000_000
STRETCH, NOW = 90 * SECOND, 15 * SECOND
"""What is looked at, and how much of its end is called now, ns: shorter, and one burst is the whole picture."""
ROWS_AT_MOST = 300_000
"""Readings of connections looked at; without it a request of a large job takes minutes."""
COMMUNICATORS_AT_MOST = 2_000

JobId = Annotated[str, Path(max_length=255, description="job id")]

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{id}/delays", response_model=Delays, summary="Give the delay matrix")
def delays(
    *,
    state: Shared,
    _: Viewer,
    id: JobId,  # noqa: A002 - the path's own word
    until: Annotated[
        int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: when the job was last seen")
    ] = None,
) -> dict[str, Any]:
    """Give for each pair of hosts the round trip of its connections in the last 15 s, and in the 75 s before.

    Connections that carry little of the job are left out: the round trip of an idle one is a stale figure.
    """
    row = _job(state, id)
    until = row.last_seen + SECOND if until is None else until
    since = max(0, until - STRETCH)

    def read(begin: int, end: int) -> Any:
        return state.store.telemetry.read("edges", job=row.id, attempt=row.attempt, since=begin, until=end)

    edges, complete = newest(read, since, until, ROWS_AT_MOST, None)
    hosts = Hosts()
    for node in state.store.nodes.list():
        if node.host in row.hosts:
            hosts.get(node.host).addresses = frozenset(node.addresses)
    found = paths.paths(edges, hosts, until - NOW)
    return {
        "since": complete,
        "now_since": until - NOW,
        "until": until,
        "hosts": list(row.hosts),
        "paths": [asdict(path) for path in found],
    }


@router.get("/jobs/{id}/communicators", summary="List a job's communicators")
def communicators(state: Shared, _: Viewer, id: JobId) -> Items[Communicator]:  # noqa: A002 - the path's own word
    """List the communicators of the job's newest attempt with the ranks that joined them, the largest first."""
    row = _job(state, id)
    rows = state.store.telemetry.read("memberships", job=row.id, attempt=row.attempt)
    columns = [name for name in ("comm", "name", "n_ranks", "rank") if name in rows.column_names]
    known: dict[str, dict[str, Any]] = {}
    for each in rows.select(columns).to_pylist():
        made = known.setdefault(each["comm"], {"comm": each["comm"], "name": None, "n_ranks": 0, "ranks": set()})
        made["name"] = each["name"] or made["name"]
        made["n_ranks"] = max(made["n_ranks"], each["n_ranks"] or 0)
        if each["rank"] is not None:
            made["ranks"].add(each["rank"])
    largest = sorted(known.values(), key=lambda made: (-made["n_ranks"], made["comm"]))[:COMMUNICATORS_AT_MOST]
    return Items(items=[Communicator(**{**made, "ranks": sorted(made["ranks"])}) for made in largest])


def _job(state: State, id_: str) -> JobRow:
    row = state.store.jobs.get(id_)
    if row is None:
        raise NotFoundError(f"there is no job {id_!r}")
    return row
