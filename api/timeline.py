"""/jobs/{id}/timeline: a stretch of a job, operation by operation, as a file for a trace viewer."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from offbeat.analyzer.timeline import perfetto, slices
from offbeat.api.access import Viewer
from offbeat.api.problems import Problem
from offbeat.api.state import Shared, State
from offbeat.faults import headline
from offbeat.store import NotFoundError
from offbeat.wording import culprits

if TYPE_CHECKING:
    from offbeat.store import JobRow

SECOND = 1_000_000_000
LONGEST = 600 * SECOND
"""Longest stretch in one file, ns; without it one request reads a day of a thousand ranks."""
STRETCH = 30 * SECOND
"""What is shown when nobody says since when, ns."""
SLICES_AT_MOST = 50_000
"""Operations in one file, about 4 MB; of more, the newest."""
WAITS_AT_MOST = 5_000
EVENTS_AT_MOST = 2_000

router = APIRouter(tags=["jobs"])


class Format(StrEnum):
    """Forms of a timeline."""

    PERFETTO = "perfetto"


@router.get(
    "/jobs/{id}/timeline",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "a Perfetto trace"}},
    summary="Give a timeline of ranks",
)
def timeline(
    *,
    state: Shared,
    _: Viewer,
    id: Annotated[str, Path(max_length=255, description="job id")],  # noqa: A002 - the path's own word
    form: Annotated[Format, Query(alias="format")] = Format.PERFETTO,
    since: Annotated[int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: 30 s before `until`")] = None,
    until: Annotated[
        int | None, Query(ge=0, lt=1 << 63, description="Unix ns; default: when the job was last seen")
    ] = None,
    rank: Annotated[
        list[int] | None, Query(max_length=1024, description="only these; may be given several times")
    ] = None,
) -> Response:
    """Give the operations and phases of ranks, who waited for whom, and the faults.

    A file spans ten minutes and 50,000 slices at most. Of more the newest are given; the header `Offbeat-Since` says
    since when the file is complete (Unix ns). Opens in https://ui.perfetto.dev, which sends it nowhere.
    """
    assert form is Format.PERFETTO
    row = state.store.jobs.get(id)
    if row is None:
        raise NotFoundError(f"there is no job {id!r}")
    until = row.last_seen + SECOND if until is None else until
    since = max(0, until - STRETCH) if since is None else since
    if not 0 < until - since <= LONGEST:
        raise Problem(422, f"a timeline is at most {LONGEST // SECOND} s long: since must be that close before until")
    made, complete = _slices(state, row, since, until, rank)
    drawn = slices.lay_out(made)
    trace = perfetto.encode(
        drawn,
        slices.waits(drawn, WAITS_AT_MOST),
        [*_faults(state, row, complete, until), *_events(state, row, complete, until)],
        {each.rank: each.host for each in row.ranks},
    )
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in row.id)[:80]
    return Response(
        trace,
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="offbeat-{name}.pftrace"',
            "Offbeat-Since": str(complete),
        },
    )


def _slices(
    state: State, row: JobRow, since: int, until: int, ranks: list[int] | None
) -> tuple[list[slices.Slice], int]:
    def read(table: str) -> Any:
        return lambda begin, end: state.store.telemetry.read(
            table, job=row.id, attempt=row.attempt, since=begin, until=end
        )

    operations, complete = slices.newest(read("collectives"), since, until, SLICES_AT_MOST, ranks)
    memberships = state.store.telemetry.read("memberships", job=row.id, attempt=row.attempt)
    names = {each["comm"]: each["name"] or "" for each in memberships.select(["comm", "name"]).to_pylist()}
    found = slices.of_collectives(operations, names)
    room = max(0, SLICES_AT_MOST - len(found))
    phases, complete = slices.newest(read("spans"), complete, until, room, ranks) if room else (None, complete)
    return found + ([] if phases is None else slices.of_spans(phases)), complete


def _faults(state: State, row: JobRow, since: int, until: int) -> list[perfetto.Instant]:
    found = []
    for incident in state.store.incidents.list(job=row.id, limit=500).items:
        finding = incident.finding
        at = finding.started_at or incident.opened_at
        if since <= at < until and incident.attempt == row.attempt:
            words = headline(finding.fault, row.id, culprits(finding.to_dict()))
            figures = {"class": str(finding.fault), "incident": incident.id, "summary": finding.summary}
            found.append(perfetto.Instant(at, "Faults", words, finding.culprits.ranks, figures))
    return found


def _events(state: State, row: JobRow, since: int, until: int) -> list[perfetto.Instant]:
    columns = ["at", "host", "rank", "kind", "message"]
    rows = state.store.telemetry.read("events", since=since, until=until).select(columns).to_pylist()
    here = [each for each in rows if each["host"] in row.hosts]
    return [
        perfetto.Instant(
            each["at"],
            f"host {each['host']}",
            each["kind"],
            () if each["rank"] is None else (each["rank"],),
            {"message": each["message"] or ""},
        )
        for each in sorted(here, key=lambda each: -each["at"])[:EVENTS_AT_MOST]
    ]
