"""The registry of every record field: name, type, unit, meaning. Captures, wire and docs are made from it.

Times are integer nanoseconds since the Unix epoch (UTC). Ranks are global ranks of the job unless a name says
`comm_rank`. Every table carries `job` and `attempt`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    TableData = Mapping[str, pa.Table]

OPS = (
    "all_reduce",
    "reduce_scatter",
    "all_gather",
    "broadcast",
    "reduce",
    "all_to_all",
    "gather",
    "scatter",
    "barrier",
    "send",
    "recv",
    "send_recv",
    "put",
    "signal",
    "wait_signal",
    "coalesced",
    "other",
)
STATES = ("enqueued", "started", "completed", "unknown")


class RecordError(ValueError):
    """Input does not fit the registry; the message names the table and the field."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column: `required` columns may be neither missing nor null."""

    name: str
    type: pa.DataType
    meaning: str
    required: bool = False


_I64, _I32, _I16, _F64, _STR, _BOOL = pa.int64(), pa.int32(), pa.int16(), pa.float64(), pa.string(), pa.bool_()
_F32 = pa.float32()


def _f(name: str, type_: pa.DataType, meaning: str) -> Field:
    return Field(name.rstrip("!"), type_, meaning, required=name.endswith("!"))


_COMMON = (
    _f("job", _STR, "job name; absent in a file of one job"),
    _f("attempt", _I32, "new on every restart, membership change or communicator rebuild"),
)

_STREAM = (
    _f("comm!", _STR, "communicator"),
    _f("rank!", _I32, "global rank"),
    _f("peer", _I32, "global rank of the other side of sends or receives"),
    _f("direction", _STR, "send or recv, where a peer is named: sequence numbers count per peer and direction then"),
)


def _sums(name: str, meaning: str) -> tuple[Field, ...]:
    return (
        _f(f"{name}_n", _I64, f"{meaning}: of how many operations it is known"),
        _f(f"{name}_sum", _I64, "ns, summed"),
        _f(f"{name}_sum2", _F32, "squares, square microseconds, summed"),
        _f(f"{name}_min", _I64, "the shortest, ns"),
        _f(f"{name}_max", _I64, "the longest, ns"),
        _f(f"{name}_max_seq", _I64, "sequence number of the longest"),
    )


TABLES: dict[str, tuple[Field, ...]] = {
    "jobs": (
        _f("name", _STR, "name a person gave"),
        _f("fingerprint", _STR, "model and parallelism: what lets a baseline carry over"),
        _f("simulated", _BOOL, "true when no real job made these records"),
        _f("world!", _I32, "number of ranks"),
    ),
    "ranks": (
        _f("rank!", _I32, "global rank"),
        _f("host!", _STR, "host name as its agent says it"),
        _f("pid", _I64, "process id in the agent's namespace"),
        _f("gpu", _I16, "device index on the host"),
        _f("gpu_uuid", _STR, "device UUID"),
        _f("nic", _STR, "device name of its network adapter"),
        _f("rail", _STR, "rail of that adapter"),
        _f("leaf", _STR, "leaf switch of that adapter"),
        _f("tp", _I32, "position in its tensor-parallel group"),
        _f("pp", _I32, "pipeline stage"),
        _f("dp", _I32, "position in its data-parallel group"),
        _f("valid_from", _I64, "from when this row holds, ns"),
        _f("valid_to", _I64, "until when this row holds, ns"),
    ),
    "hosts": (
        _f("host!", _STR, "host name"),
        _f("rack", _STR, "rack"),
        _f("power", _STR, "power domain"),
        _f("nics", pa.list_(pa.struct([("name", _STR), ("rail", _STR), ("leaf", _STR)])), "network adapters"),
    ),
    "memberships": (
        _f("comm!", _STR, "communicator, the same word on all members"),
        _f("comm_rank!", _I32, "rank inside the communicator"),
        _f("n_ranks!", _I32, "size of the communicator"),
        _f("rank", _I32, "global rank"),
        _f("host", _STR, "host name"),
        _f("pid", _I64, "process id"),
        _f("name", _STR, "the name the job gave the group"),
        _f("created_at", _I64, "ns"),
        _f("destroyed_at", _I64, "ns"),
        _f("members", pa.list_(_I32), "global ranks in communicator order, where the recorder knows them"),
    ),
    "collectives": (
        _f("comm!", _STR, "communicator"),
        _f("rank!", _I32, "global rank"),
        _f("seq", _I64, "this member's own launch counter in the communicator"),
        _f("fn_seq", _I64, "the source's counter per function"),
        _f("p2p_seq", _I64, "counter per communicator, peer and direction"),
        _f("op!", _STR, "one of OPS"),
        _f("native_op", _STR, "the source's own word for it"),
        _f("peer", _I32, "global rank of the other side of a send or recv"),
        _f("peer_comm_rank", _I32, "the peer's rank inside the communicator, where its global one is not known"),
        _f("root", _I32, "global rank of the root"),
        _f("root_comm_rank", _I32, "the root's rank inside the communicator, where its global one is not known"),
        _f("redop", _STR, "reduction"),
        _f("nbytes!", _I64, "payload of this member, bytes"),
        _f("in_count", _I64, "elements in"),
        _f("out_count", _I64, "elements out"),
        _f("dtype", _STR, "element type"),
        _f("algo", _STR, "algorithm"),
        _f("proto", _STR, "protocol"),
        _f("channels", _I32, "channels"),
        _f("graph", _BOOL, "part of a replayed graph"),
        _f("group_id", _I64, "operations launched as one"),
        _f("stream", _I64, "device stream"),
        _f("state", _STR, "one of STATES"),
        _f("enqueued_at", _I64, "when the host launched it, ns"),
        _f("started_at", _I64, "when it began to run, ns"),
        _f("ended_at", _I64, "when it ended, ns; null while it runs"),
        _f("duration_ns", _I64, "length where only that is known"),
        _f("observed_at", _I64, "when the reader saw it, ns; the largest wins for equal keys"),
        _f("clock", _STR, "gpu or cpu: whose clock timed it"),
        _f("device", _BOOL, "runs on a device, and this recorder sees no more than its launch"),
        _f("source", _STR, "the recorder"),
    ),
    "transfers": (
        _f("comm!", _STR, "communicator"),
        _f("seq!", _I64, "launch counter of the operation"),
        _f("channel", _I32, "channel"),
        _f("src", _I32, "global rank that sends"),
        _f("dst", _I32, "global rank that receives"),
        _f("src_comm_rank", _I32, "the same inside the communicator"),
        _f("dst_comm_rank", _I32, "the same inside the communicator"),
        _f("side", _STR, "send or recv: who measured"),
        _f("nbytes!", _I64, "bytes moved"),
        _f("count", _I32, "network transfers"),
        _f("started_at", _I64, "ns"),
        _f("ended_at", _I64, "ns; null while it runs"),
        _f("gpu_wait_ns", _I64, "waited for the GPU"),
        _f("credit_wait_ns", _I64, "waited for the peer to be ready"),
        _f("wire_ns", _I64, "on the wire"),
        _f("wire_max_ns", _I64, "longest single transfer on the wire"),
        _f("flush_ns", _I64, "flush after receipt"),
        _f("steps_total", _I64, "steps to do"),
        _f("steps_gpu_ready", _I64, "steps filled by the GPU"),
        _f("steps_posted", _I64, "steps posted to the NIC"),
        _f("steps_done", _I64, "steps done"),
        _f("last_progress_at", _I64, "ns"),
    ),
    "blocks": (
        *_STREAM,
        _f("op!", _STR, "one of OPS"),
        _f("nbytes", _I64, "payload of each, bytes; null where members have sizes of their own"),
        _f("dtype", _STR, "element type"),
        _f("shift!", _I16, "a block is 2^shift sequence numbers; blocks of one number merge by addition"),
        _f("block!", _I64, "its number: sequence number >> shift"),
        _f("n!", _I64, "operations of this kind that ended"),
        _f("missing!", _I64, "sequence numbers of the block that did not end, of any kind"),
        *_sums("duration", "from entering to leaving"),
        *_sums("own", "own time of the rank before it"),
        _f("lateness_n", _I64, "of how many lateness is known: the communicator is wholly on this host"),
        _f("lateness_sum", _I64, "by how much it was later than the last member's, ns, summed"),
        _f("lateness_max", _I64, "the largest, ns"),
        _f("transfer_n", _I64, "of how many the transfer time is known"),
        _f("transfer_sum", _I64, "how long they took when all members had come, ns, summed"),
        _f("transfer_min", _I64, "the shortest, ns"),
        _f("first_started_at", _I64, "ns"),
        _f("last_ended_at", _I64, "ns"),
        _f("observed_at!", _I64, "when they were summed, ns"),
        _f(
            "run",
            _I64,
            "start of the agent that summed, ns; of runs that tell of one block, the one with the most counts",
        ),
    ),
    "vectors": (
        *_STREAM,
        _f("thin!", _I16, "one of 2^thin operations is told, the same ones by all members"),
        _f("first_seq!", _I64, "sequence number of the first that is told"),
        _f("first_started_at!", _I64, "when it was entered, ns"),
        _f("observed_at!", _I64, "when they were read, ns"),
        _f("seq_step!", pa.list_(_I32), "sequence number of each, less that of the one before; 0 first"),
        _f("start_step_us!", pa.list_(_I64), "start of each, less that of the one before, microseconds; 0 first"),
        _f(
            "duration!", pa.list_(pa.uint16()), "from entering to leaving: round(2750 ln(1 + ns / 1000)); 65535 unknown"
        ),
        _f("own!", pa.list_(pa.uint16()), "own time of the rank before it, coded likewise"),
        _f("kind!", pa.list_(_I16), "what each is: place in kinds"),
        _f(
            "kinds!",
            pa.list_(pa.struct([("op", _STR), ("nbytes", _I64), ("dtype", _STR)])),
            "operations of the row; nbytes is null where members have sizes of their own",
        ),
    ),
    "edge_blocks": (
        _f("comm!", _STR, "communicator"),
        _f("src", _I32, "global rank that sends"),
        _f("dst", _I32, "global rank that receives"),
        _f("src_comm_rank", _I32, "the same inside the communicator"),
        _f("dst_comm_rank", _I32, "the same inside the communicator"),
        _f("side", _STR, "send or recv: who measured"),
        _f("shift!", _I16, "a block is 2^shift sequence numbers; parts of one block merge by addition"),
        _f("block!", _I64, "its number: sequence number >> shift"),
        _f("n!", _I64, "transfers that ended"),
        _f("last_seq", _I64, "the largest sequence number among them; merges by the largest"),
        _f("nbytes", _I64, "bytes moved"),
        _f("wire_sum", _I64, "time on the wire, ns, summed"),
        _f("wire_sum2", _F64, "squares of it, square microseconds, summed"),
        _f("wire_max", _I64, "the longest, ns"),
        _f("credit_wait_sum", _I64, "waited for the peer to be ready, ns, summed"),
        _f("gpu_wait_sum", _I64, "waited for the GPU, ns, summed"),
        _f("steps_total", _I64, "steps to do, the most of any; merges by the largest, as the three below"),
        _f("steps_gpu_ready", _I64, "steps filled by the GPU"),
        _f("steps_posted", _I64, "steps posted to the NIC"),
        _f("steps_done", _I64, "steps done"),
        _f("first_started_at", _I64, "ns"),
        _f("last_ended_at", _I64, "ns"),
        _f("observed_at!", _I64, "when they were summed, ns"),
        _f(
            "run",
            _I64,
            "start of the agent that summed, ns; of runs that tell of one block, the one with the most counts",
        ),
    ),
    "spans": (
        _f("rank!", _I32, "global rank"),
        _f("step", _I64, "training step"),
        _f("kind!", _STR, "data forward backward optimizer gc checkpoint eval"),
        _f("started_at!", _I64, "ns"),
        _f("ended_at", _I64, "ns; null while it lasts"),
    ),
    "steps": (
        _f("rank!", _I32, "global rank"),
        _f("step!", _I64, "training step"),
        _f("at!", _I64, "ns"),
        _f("loss", _F64, "loss"),
        _f("grad_norm", _F64, "gradient norm"),
    ),
    "samples": (
        _f("at!", _I64, "end of the sampled stretch, ns"),
        _f("rank!", _I32, "global rank"),
        _f("kind!", _STR, "data forward backward optimizer collective other: where the main thread was"),
        _f("where!", _STR, "file:line function of the innermost frame outside torch"),
        _f("n!", _I64, "samples that saw it"),
    ),
    "edges": (
        _f("at!", _I64, "ns"),
        _f("src_host", _STR, "reporting side"),
        _f("dst_host", _STR, "other side, where the agent knows it"),
        _f("src_rank", _I32, "global rank that owns the socket"),
        _f("dst_rank", _I32, "global rank of the other side"),
        _f("src_addr", _STR, "address:port of the reporting side"),
        _f("dst_addr", _STR, "address:port of the other side"),
        _f("kind!", _STR, "tcp or probe"),
        _f("metric!", _STR, "what was measured"),
        _f("value!", _F64, "its value; units in docs/reference/metrics"),
    ),
    "digests": (
        _f("epoch!", _I64, "snapshot epoch"),
        _f("slice!", _STR, "slice of the replicated state"),
        _f("replica_group!", _STR, "ranks that must agree"),
        _f("rank!", _I32, "global rank"),
        _f("digest!", _STR, "digest"),
    ),
    "gauges": (
        _f("at!", _I64, "ns"),
        _f("host!", _STR, "host name"),
        _f("rank", _I32, "global rank"),
        _f("device_kind", _STR, "host process gpu nic disk communicator cpu memory pci nvswitch"),
        _f("device_id", _STR, "which one"),
        _f("metric!", _STR, "what was measured"),
        _f("value!", _F64, "its value"),
    ),
    "events": (
        _f("at!", _I64, "ns"),
        _f("host!", _STR, "host name"),
        _f("rank", _I32, "global rank"),
        _f("device_kind", _STR, "host process gpu nic disk communicator cpu memory pci nvswitch"),
        _f("device_id", _STR, "which one"),
        _f("kind!", _STR, "process_exit process_stopped process_running exception carrier …"),
        _f("code", _I64, "exit code, negative signal, XID, …"),
        _f("message", _STR, "one line"),
    ),
    "heartbeats": (
        _f("at!", _I64, "ns"),
        _f("host!", _STR, "host name"),
        _f("incarnation!", _I64, "start of this agent, ns"),
        _f("ranks", pa.list_(_I32), "global ranks seen alive"),
        _f("addresses", pa.list_(_STR), "addresses of the host"),
        _f("interval_ns", _I64, "when the next one is due"),
        _f("overwritten", _I64, "ring records lost since the agent started"),
        _f("lost_batches", _I64, "batches given up since the agent started: too many, too old, damaged or refused"),
    ),
}


def fields(table: str) -> tuple[Field, ...]:
    """Return all columns of *table*, `job` and `attempt` first.

    Raises:
        RecordError: There is no such table.
    """
    try:
        return _COMMON + TABLES[table]
    except KeyError:
        raise RecordError(f"unknown table {table!r}") from None


@functools.cache
def schema(table: str) -> pa.Schema:
    """Return the Arrow schema of *table*, its name in the metadata under `table`."""
    return pa.schema(
        [pa.field(f.name, f.type, nullable=not f.required) for f in fields(table)], metadata={"table": table}
    )


def build(table: str, columns: Mapping[str, object]) -> pa.Table:
    """Return a table of *columns* (name → sequence or numpy array of equal length); what is absent is null.

    Raises:
        RecordError: An unknown column, or values that do not fit its type.
    """
    known = fields(table)
    if extra := set(columns) - {f.name for f in known}:
        raise RecordError(f"{table}: unknown columns {sorted(extra)}")
    # Column by column, of the type it must have: letting Arrow guess types first costs a hundred times as much.
    arrays = {f.name: _array(table, f, columns[f.name]) for f in known if f.name in columns}
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1:
        raise RecordError(f"{table}: columns of different lengths {sorted(rows)}")
    length = rows.pop() if rows else 0
    if missing := [f.name for f in known if f.required and f.name not in arrays and length]:
        raise RecordError(f"{table}.{missing[0]}: column is missing")
    return pa.Table.from_arrays(
        [arrays[f.name] if f.name in arrays else pa.nulls(length, f.type) for f in known], schema=schema(table)
    )


def _array(table: str, field: Field, values: object) -> pa.Array | pa.ChunkedArray:
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            array = values if values.type == field.type else values.cast(field.type)
        else:
            array = pa.array(values, type=field.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise RecordError(f"{table}.{field.name}: {error}") from None
    if field.required and array.null_count:
        raise RecordError(f"{table}.{field.name}: {array.null_count} values are null")
    return array


def conform(table: str, data: pa.Table) -> tuple[pa.Table, list[str]]:
    """Fit *data* to the registry: columns cast and put in order, absent ones null, unknown ones dropped.

    Returns:
        The table, and the names of the dropped columns (to be counted, never an error).

    Raises:
        RecordError: A required column is missing or holds nulls, or a value does not fit; names table and field.
    """
    present = set(data.column_names)
    columns = []
    for f in fields(table):
        if f.name not in present:
            if f.required and data.num_rows:
                raise RecordError(f"{table}.{f.name}: column is missing")
            columns.append(pa.nulls(data.num_rows, f.type))
            continue
        column = data.column(f.name)
        if f.required and column.null_count:
            raise RecordError(f"{table}.{f.name}: {column.null_count} values are null")
        if column.type != f.type:
            try:
                column = column.cast(f.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise RecordError(f"{table}.{f.name}: {error}") from None
        columns.append(column)
    unknown = sorted(present - {f.name for f in fields(table)})
    return pa.Table.from_arrays(columns, schema=schema(table)), unknown
