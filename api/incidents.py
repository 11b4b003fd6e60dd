"""/incidents: findings with a life, and what people do about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from offbeat.api import history as lives
from offbeat.api.access import Operator, Viewer
from offbeat.api.idempotency import RunOnce
from offbeat.api.paging import Cursor, Limit
from offbeat.api.schemas import Accuracy, Incident, Items, Step
from offbeat.api.state import Shared, State
from offbeat.model import FaultClass, IncidentState
from offbeat.store import Incident as Row
from offbeat.store import NotFoundError

IncidentId = Annotated[str, Path(max_length=64, description="incident id")]

router = APIRouter(tags=["incidents"])


class Resolution(BaseModel):
    """Why somebody ends an incident."""

    why: str = Field("", max_length=2000)


class Judged(BaseModel):
    """A judgement as kept."""

    incident: str
    at: int
    right: bool
    note: str
    who: str = Field(description="id of the token that said so")


class Judgement(BaseModel):
    """Whether a finding was right; kept for the figures on accuracy."""

    right: bool
    note: str = Field("", max_length=2000)


@router.get("/incidents", response_model=Items[Incident], summary="List incidents")
def list_incidents(
    *,
    state: Shared,
    _: Viewer,
    job: Annotated[str | None, Query(max_length=255)] = None,
    in_state: Annotated[
        list[IncidentState] | None, Query(alias="state", description="may be given several times")
    ] = None,
    fault: Annotated[FaultClass | None, Query(alias="class")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """List incidents, newest first."""
    page = state.store.incidents.list(job=job, state=in_state, class_=fault, cursor=cursor, limit=limit)
    return {"items": [row.to_dict() for row in page.items], "next": page.next}


@router.get("/incidents/{id}", response_model=Incident, summary="Show one incident")
def get_incident(state: Shared, _: Viewer, id: IncidentId) -> dict[str, Any]:  # noqa: A002 - the path's own word
    """Show an incident with its finding and all evidence."""
    row = state.store.incidents.get(id)
    if row is None:
        raise NotFoundError(f"there is no incident {id!r}")
    return row.to_dict()


@router.get("/incidents/{id}/history", summary="Tell an incident's history")
def history(state: Shared, _: Viewer, id: IncidentId) -> Items[Step]:  # noqa: A002 - the path's own word
    """Tell what changed when: opened, changed, acknowledged, ended, judged; oldest first, the last 200 changes."""
    incidents = state.store.incidents
    row = incidents.get(id)
    if row is None:
        raise NotFoundError(f"there is no incident {id!r}")
    told = lives.steps(row, incidents.history(id), incidents.feedbacks(id))
    return Items(items=[Step(**step) for step in told])


@router.get("/accuracy", response_model=Items[Accuracy], summary="Tell how often findings were right")
def accuracy(state: Shared, _: Viewer) -> dict[str, Any]:
    """Tell for each class that people judged how many of its incidents they called right, and how many wrong."""
    rows = state.store.incidents.accuracy()
    return {"items": [{"class": row.fault, "right": row.right, "wrong": row.wrong} for row in rows]}


@router.post("/incidents/{id}/acknowledge", response_model=Incident, summary="Say that somebody looks after it")
def acknowledge(state: Shared, principal: Operator, once: RunOnce, id: IncidentId) -> Any:  # noqa: A002 - the path's own word
    """Take an incident on; it stays until its fault ends."""
    return once(lambda: _told(state, state.store.incidents.acknowledge(id, principal.id)))


@router.post("/incidents/{id}/resolve", response_model=Incident, summary="End an incident")
def resolve(body: Resolution, state: Shared, principal: Operator, once: RunOnce, id: IncidentId) -> Any:  # noqa: A002 - the path's own word
    """End an incident by hand; the same finding going on does not open it again."""
    return once(lambda: _told(state, state.store.incidents.resolve(id, principal.id, body.why)))


@router.post("/incidents/{id}/feedback", response_model=Judged, summary="Say whether the finding was right")
def feedback(body: Judgement, state: Shared, principal: Operator, once: RunOnce, id: IncidentId) -> Any:  # noqa: A002 - the path's own word
    """Keep a person's judgement beside the incident."""
    return once(lambda: asdict(state.store.incidents.feedback(id, body.right, body.note, principal.id)))


def _told(state: State, incident: Row) -> dict[str, Any]:
    state.bus.publish("incidents", incident)
    return incident.to_dict()
