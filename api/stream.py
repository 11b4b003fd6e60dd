"""GET /incidents/stream: what changes, as server-sent events.

Incidents come from the store's event log, so that a client that was away gets what it missed; jobs and beats are the
newest state, which needs no history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from offbeat import metrics
from offbeat.api import views
from offbeat.api.access import Viewer
from offbeat.api.state import Shared, State
from offbeat.store import JobRow

if TYPE_CHECKING:
    from offbeat.store import Subscription

IDLE_SECONDS = 10.0
"""Pause after which a comment is sent; without it proxies close a quiet stream."""
LONGEST_SECONDS = 3600.0
"""After this the stream ends and the client comes back; without an end a revoked token would listen for ever."""
RETRY_MS = 2000
"""How long a browser waits before it comes back."""
EVENTS_AT_ONCE = 200
"""Incident events read from the log in one go; without it a client that was away for weeks gets one huge lump."""

_streams = metrics.gauge("offbeat_api_streams")
router = APIRouter(tags=["incidents"])


async def _place(state: Shared) -> AsyncIterator[None]:
    with state.streams.place(), _streams.track_inprogress():
        yield


@router.get(
    "/incidents/stream",
    response_class=EventSourceResponse,
    dependencies=[Depends(_place)],
    summary="Follow incidents, jobs and beats",
)
async def stream(
    state: Shared,
    _: Viewer,
    last_event_id: Annotated[str | None, Header(description="id of the last `incident` event that was seen")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send `incident` (an incident), `job` (a job) and `beat` (a job's new iterations) as they happen."""
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()

    def ring() -> None:
        loop.call_soon_threadsafe(wake.set)

    # Listening before the first look at the store: what changes in between rings.
    with (
        state.bus.subscribe("incidents", size=1, wake=ring) as incidents,
        state.bus.subscribe("jobs", wake=ring) as jobs,
        state.bus.subscribe("beats", wake=ring) as beats,
    ):
        state.wakes.add(wake)
        try:
            log = _Log(state, last_event_id)
            await to_thread.run_sync(log.begin)
            yield ServerSentEvent(comment="following", retry=RETRY_MS)
            until = loop.time() + LONGEST_SECONDS
            while not state.stopping and loop.time() < until:
                wake.clear()
                incidents.get(0)
                for event in await to_thread.run_sync(log.read):
                    yield event
                for event in await to_thread.run_sync(_jobs, state, _drain(jobs)):
                    yield event
                for beat in _drain(beats):
                    yield _beat(beat)
                if log.behind:
                    continue
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        await wake.wait()
                except TimeoutError:
                    yield ServerSentEvent(comment="idle")
        finally:
            state.wakes.discard(wake)


class _Log:
    """How far one client has read the log of incident events."""

    def __init__(self, state: State, last_event_id: str | None) -> None:
        self._incidents = state.store.incidents
        given = last_event_id or ""
        self._after = int(given) if given.isascii() and given.isdigit() and len(given) < 20 else None
        self._cursor = 0
        self.behind = False

    def begin(self) -> None:
        last = self._incidents.last_event()
        # An id from before the database was made anew would wait for a number that is far away.
        self._cursor = last if self._after is None or self._after > last else self._after

    def read(self) -> list[ServerSentEvent]:
        events = self._incidents.events_since(self._cursor, limit=EVENTS_AT_ONCE)
        if events:
            self._cursor = events[-1].seq
        self.behind = len(events) == EVENTS_AT_ONCE
        return [ServerSentEvent(event="incident", id=str(event.seq), data=event.incident) for event in events]


def _jobs(state: State, changes: list[Any]) -> list[ServerSentEvent]:
    newest = {row.id: row for row in changes if isinstance(row, JobRow)}
    counts = state.store.incidents.open_counts() if newest else {}
    return [ServerSentEvent(event="job", data=views.job(row, counts.get(id_, 0))) for id_, row in newest.items()]


def _beat(beat: dict[str, Any]) -> ServerSentEvent:
    seconds = beat["iteration_ns"] / views.SECOND
    return ServerSentEvent(event="beat", data={"job": beat["job"], "at": beat["at"], "iteration_seconds": seconds})


def _drain(subscription: Subscription) -> list[Any]:
    items = []
    while (item := subscription.get(0)) is not None:
        items.append(item)
    return items
