"""POST /telemetry: the way in for agents."""

from __future__ import annotations

import functools
import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow.compute as pc
import structlog
from anyio import to_thread
from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, Field

from offbeat import metrics, wire
from offbeat.api.access import Sender
from offbeat.api.problems import Problem
from offbeat.api.state import Shared, State
from offbeat.records import RecordError
from offbeat.store import HostClaimedError, Receipt, StoreError, UnavailableError
from offbeat.store.shards import topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

HOST_COLUMNS = {
    "hosts": "host",
    "heartbeats": "host",
    "gauges": "host",
    "events": "host",
    "ranks": "host",
    "memberships": "host",
    "edges": "src_host",
}
"""Columns that say who reports; a batch may name only its own host there, or one node could accuse another."""

_HEADER = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252})/(?P<incarnation>\d{1,19})/(?P<n>\d{1,19})")
_LARGEST = (1 << 62) - 1
_batches = metrics.counter("offbeat_telemetry_batches_total")
_bytes = metrics.counter("offbeat_telemetry_bytes_total")
_rows = metrics.counter("offbeat_telemetry_rows_total")
_lost = metrics.counter("offbeat_telemetry_lost_batches_total")
_log = structlog.get_logger(__name__)
_unknown = metrics.counter("offbeat_telemetry_unknown_columns_total")

router = APIRouter(tags=["telemetry"])


class Accepted(BaseModel):
    """What became of a batch."""

    durable: int = Field(description="largest n such that batches 1…n of this incarnation cannot be lost any more")
    duplicate: bool = Field(description="the batch had been accepted before; nothing was stored again")


@router.post(
    "/telemetry",
    status_code=202,
    summary="Take one batch of an agent",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "Arrow IPC streams, one a table, in one zstd frame",
            "content": {"application/vnd.offbeat.batch": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def accept(
    request: Request,
    principal: Sender,
    state: Shared,
    *,
    offbeat_batch: Annotated[str, Header(description="`<host>/<agent incarnation>/<n>`")],
    offbeat_gap: Annotated[
        int, Header(ge=0, le=_LARGEST, description="how many numbers right before n will not be sent any more")
    ] = 0,
    offbeat_agent: Annotated[
        int | None,
        Header(gt=0, le=_LARGEST, description="the incarnation that sends it, when it found the batch in its spool"),
    ] = None,
) -> Accepted:
    """Make a batch durable and hand it to the analyzer. The same batch again is a no-op."""
    with state.batches.place():
        host, incarnation, n = _parse(offbeat_batch)
        if principal.host is not None and principal.host != host:
            raise _refused("foreign_host", 403, f"the token is bound to host {principal.host}, the batch names {host}")
        if state.bus.behind:
            _batches.labels("unavailable").inc()
            raise Problem(503, "the analyzers cannot be told now: Redis is away", "unavailable", retry_after=2)
        body = await request.body()
        if not body:
            raise _refused("schema", 400, "the body is empty; a batch without records is a zstd frame, too")
        told = {"gap": offbeat_gap, "sender": offbeat_agent}
        take = functools.partial(_take, state, (host, incarnation, n), body, told)
        receipt = await to_thread.run_sync(take, limiter=state.decoders)
    return Accepted(durable=receipt.durable, duplicate=receipt.duplicate)


def _parse(header: str) -> tuple[str, int, int]:
    match = _HEADER.fullmatch(header)
    if match is None:
        raise _refused("header", 400, "Offbeat-Batch must read <host>/<agent incarnation>/<n>")
    incarnation, n = int(match["incarnation"]), int(match["n"])
    if not (0 < incarnation <= _LARGEST and 0 < n <= _LARGEST):
        raise _refused("header", 400, "Offbeat-Batch: incarnation and n are positive integers below 2^62")
    return match["host"], incarnation, n


def _take(state: State, batch: tuple[str, int, int], body: bytes, told: Mapping[str, Any]) -> Receipt:
    host, incarnation, n = batch
    try:
        tables, unknown = wire.decode(body)
    except wire.TooLargeError as error:
        raise _refused("too_large", 413, str(error)) from None
    except wire.WireError as error:
        raise _refused("schema", 400, str(error)) from None
    if foreign := _foreign(tables, host):
        raise _refused("foreign_host", 403, f"rows of {foreign} name another host than {host}")
    received_at = time.time_ns()
    try:
        receipt = state.store.telemetry.accept(host, incarnation, n, tables, body, **told)
    except RecordError as error:
        # Refused for good: an agent that was told to try again would send it for ever.
        raise _refused("schema", 400, str(error)) from None
    except HostClaimedError:
        _batches.labels("host_claimed").inc()
        raise
    except UnavailableError:
        _batches.labels("unavailable").inc()
        raise
    _lost.inc(receipt.lost)
    if receipt.duplicate:
        _batches.labels("duplicate").inc()
        return receipt
    _batches.labels("accepted").inc()
    _bytes.inc(len(body))
    _unknown.inc(unknown)
    for name, table in tables.items():
        _rows.labels(name).inc(table.num_rows)
    if "heartbeats" in tables:
        _note_node(state, host, incarnation, tables["heartbeats"], received_at)
    _hand_on(state, host, received_at, tables, body)
    return receipt


def _hand_on(state: State, host: str, received_at: int, tables: Mapping[str, pa.Table], body: bytes) -> None:
    message = {"host": host, "received_at": received_at, "tables": tables}
    if state.router is None:
        state.bus.publish("telemetry", message)
        return
    for shard, part in state.router.split(host, tables):
        # The wire form is at hand where the shard sees the whole batch.
        whole = {"raw": body} if part is tables else {}
        state.bus.publish(topic(shard), {**message, "tables": part, **whole})


def _note_node(state: State, host: str, incarnation: int, heartbeats: pa.Table, received_at: int) -> None:
    newest = {row["job"] or "": row for row in heartbeats.sort_by("at").to_pylist()}
    try:
        for job, row in newest.items():
            # A host whose clock runs ahead was not seen in the future.
            at = min(row["at"], received_at)
            state.store.nodes.seen(host, at, incarnation, row["addresses"] or (), row["ranks"] or (), job=job)
    except StoreError as error:
        # The batch is durable and must be answered so; the next heartbeat is a second away.
        _log.warning("heartbeat not noted", host=host, error=str(error))


def _foreign(tables: Mapping[str, pa.Table], host: str) -> str | None:
    for name, column in HOST_COLUMNS.items():
        table = tables.get(name)
        if table is not None and pc.any(pc.not_equal(table.column(column), host)).as_py():
            return f"{name}.{column}"
    return None


def _refused(outcome: str, status: int, detail: str) -> Problem:
    _batches.labels(outcome).inc()
    kind = {"schema": "bad-batch", "header": "bad-batch"}.get(outcome, outcome.replace("_", "-"))
    return Problem(status, detail, kind)
