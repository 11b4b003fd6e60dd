"""/jobs: what is running, its beat, and who is late."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from offbeat.api import paging, series, views
from offbeat.api.access import Viewer
from offbeat.api.paging import Cursor, Limit
from offbeat.api.schemas import BeatPoint, Items, Job, JobDetail, Lateness
from offbeat.api.state import Shared, State
from offbeat.store import JobRow, NotFoundError

BEATS_AT_MOST = 50_000
"""Iterations in one answer; of more, the longest of each stretch. Without it a fast job's day fills the client."""
CELLS_AT_MOST = 16_000_000
"""Values in one lateness matrix: 64 MB as octets; more is merged over time."""
STRETCH = 600 * views.SECOND
"""What is shown when nobody says since when, ns."""

JobId = Annotated[str, Path(max_length=255, description="job id")]
Since = Annotated[
    int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: ten minutes before the job was last seen")
]
Until = Annotated[int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: the newest")]

router = APIRouter(tags=["jobs"])


@router.get("/jobs", response_model=Items[Job], summary="List jobs")
def list_jobs(state: Shared, _: Viewer, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
    """List jobs, last seen first."""
    page = paging.cut(state.store.jobs.list(), lambda row: row.id, cursor, limit)
    counts = state.store.incidents.open_counts()
    return {"items": [views.job(row, counts.get(row.id, 0)) for row in page.items], "next": page.next}


@router.get("/jobs/{id}", response_model=JobDetail, summary="Show one job")
def get_job(state: Shared, _: Viewer, id: JobId) -> dict[str, Any]:  # noqa: A002 - the path's own word
    """Show a job and where its ranks run."""
    row = _job(state, id)
    return views.job_detail(row, state.store.incidents.open_counts().get(id, 0))


@router.get("/jobs/{id}/beat", summary="Give a job's iterations")
def beat(
    *,
    state: Shared,
    _: Viewer,
    id: JobId,  # noqa: A002 - the path's own word
    since: Since = None,
    until: Until = None,
) -> Items[BeatPoint]:
    """Give the job's iterations as a series, oldest first."""
    row = _job(state, id)
    beats = state.store.jobs.beats(id, _since(row, since, until), until, points=BEATS_AT_MOST)
    return Items(items=[BeatPoint(at=b.at, iteration_seconds=b.iteration_ns / views.SECOND) for b in beats])


@router.get(
    "/jobs/{id}/lateness",
    response_model=Lateness,
    responses={200: {"content": {series.OCTETS: {}, series.ARROW: {}}, "description": "JSON, octets or Arrow"}},
    summary="Give ranks by time lateness",
)
def lateness(
    *,
    request: Request,
    state: Shared,
    _: Viewer,
    id: JobId,  # noqa: A002 - the path's own word
    since: Since = None,
    until: Until = None,
    steps: Annotated[int, Query(ge=1, le=10_000, description="windows at most; more are merged, peaks kept")] = 1200,
) -> Response:
    """Give how late each rank was in each window, in ms.

    `application/octet-stream`: u32 n_times, u32 n_ranks, i64 times[], i32 ranks[], f32 values[] (a row a time,
    NaN none), little endian. `application/vnd.apache.arrow.stream`: `at` and a list of values a row.
    """
    row = _job(state, id)
    times, ranks, values = state.store.jobs.lateness(id, _since(row, since, until), until)
    most = max(1, min(steps, CELLS_AT_MOST // max(len(ranks), 1)))
    times, values = series.thin(times, values * np.float32(1e-6), most)
    form = series.choose(request.headers.get("accept", ""))
    headers = {"Vary": "Accept"}
    if form == series.JSON:
        return JSONResponse(series.plain(times, ranks, values), headers=headers)
    encode = series.octets if form == series.OCTETS else series.arrow
    return Response(encode(times, ranks, values), media_type=form, headers=headers)


def _job(state: State, id_: str) -> JobRow:
    row = state.store.jobs.get(id_)
    if row is None:
        raise NotFoundError(f"there is no job {id_!r}")
    return row


def _since(row: JobRow, since: int | None, until: int | None) -> int:
    return max(0, (row.last_seen if until is None else until) - STRETCH) if since is None else since
