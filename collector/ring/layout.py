"""Where everything lies in a ring file: one little-endian, naturally aligned layout for every writer and reader.

    header (4096 bytes)  identity, areas, double-buffered blocks, counters, cursors
    strings              append-only: u32 length, bytes, padding to 4; the id of a string is its ordinal, from 1
    communicators        append-only, 64 bytes each
    members              append-only i32: member lists of communicators
    open operations      128 bytes each; in use while head == tail != 0
    samples, messages    one ring each
    lanes                rings of 128-byte operations; in Python a thread has one of its own, in C a record goes into
                         whichever nobody writes to this moment

In a file of version 2 lanes and the table of open operations hold transfers, too: records of the same size, with
`TRANSFER` in the place of the operation's code.


`offbeat_ring.h` says the same in C; a test holds the two together.

How a reader can trust what it reads, while writers take no lock:

* A ring's writer writes record n (head, body, tail), then stores n + 1 in the ring's cursor. A reader reads the cursor,
  then the records below it, then the cursor again, and keeps record n only if n + capacity is above the second value:
  then nobody had begun to write over it while it was copied. Head and tail hold n + 1; they reveal a writer that
  died halfway, and a shared lane whose cursor ran ahead.
* An open operation is claimed by writing its whole record, and freed by a zero in its head. A reader copies the
  table twice and keeps what is the same in both copies, with head equal to tail.
* What is rewritten as a whole (identity, clock) has two copies, written by turns; the newest with head == tail counts.
* In C the cursor and the tail are release stores and a release fence stands between a head and its body, so the order
  holds on weakly ordered processors. Python can issue no fence: one `struct.pack_into` writes a record front to back,
  and some hundred instructions lie between it and the store of the cursor, far more than a store buffer holds; a
  copy that is torn all the same differs in head and tail, or between the two copies, unless the body alone is late.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

MAGIC = b"OFFBEATR"
VERSION = 1
VERSION_TRANSFERS = 2
"""Version of files that may hold transfers; a reader of version 1 would take these for operations."""

HEADER_BYTES = 4096
STRING_BYTES = 128 << 10
"""Room for interned strings; a job with more operation and group names than this loses names, not numbers."""
COMMUNICATORS = 512
"""Communicators a process may tell of; operations of later ones carry communicator 0."""
MEMBERS = 32 << 10
"""Members that cannot be said as first, step, count; what does not fit is left out."""
OPEN_SLOTS = 1024
"""Operations in flight at once; more are counted and seen only when they end."""
SAMPLES = 512
MESSAGES = 256
LANES = 8
"""Threads that write operations on their own; with more than these, threads share the last one."""
MAX_LANES = 46
LANE_RECORDS = 2048
"""Operations a thread may finish between two polls of the agent; with more, the oldest are lost and counted."""
MAX_FILE_BYTES = 64 << 20
"""What no honest ring exceeds: a reader refuses to map the sizes of a larger one."""
MAX_GROUP = 1 << 18
"""Members one communicator may have; without it a forged ring makes a reader allocate without end."""

# The operation codes of a record: their place in `offbeat.records.OPS`, which this floor may not import in a trainer.
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
OP_CODE = {name: code for code, name in enumerate(OPS)}
ENQUEUED, STARTED, COMPLETED, UNKNOWN = range(4)
"""States of an operation, in the order of `offbeat.records.STATES`."""
FAILED = 1
"""Flag: the operation ended with an error."""
ON_DEVICE, COMM_RANKS = 1, 2
"""Traits: it runs on a device and no more than its launch is seen; peer and root are ranks in the communicator."""
TRANSFER = 64
"""In the place of an operation's code: the record is a transfer."""
SIDES = ("send", "recv")

# Fixed part of the header, then the areas in the order below, each (offset, record bytes, capacity).
HEADER = Struct("<8sIIQqIIQQQ16s64s")
AREAS_AT = 160
AREA = Struct("<QII")
AREA_NAMES = ("strings", "communicators", "members", "open", "samples", "messages", "lanes")
LANE_COUNT_AT = 272
IDENTITY_AT, IDENTITY_STRIDE = 288, 192
IDENTITY = Struct("<Qiiii128s32xQ")
"""head, attempt, rank, world, local rank, job, tail; twice."""
CLOCK_AT, CLOCK_STRIDE = 672, 32
CLOCK = Struct("<QqqQ")
"""head, CLOCK_MONOTONIC, CLOCK_REALTIME, tail; twice."""
EXIT_AT = 736
EXIT = Struct("<QqqQ")
"""head, exit code, CLOCK_MONOTONIC, tail."""
COUNTERS_AT = 768
COUNTER_NAMES = ("strings", "communicators", "members", "lanes", "open_dropped", "table_dropped", "lane_dropped")
CURSORS_AT, CURSOR_STRIDE = 1024, 64
"""One cache line a ring: u64 records written, u64 thread. First samples, then messages, then the lanes."""

STRING_HEAD = Struct("<I")
COMMUNICATOR = Struct("<IIiiiiIIqi20x")
"""word, name (strings), rank in it, size, first member, step, member offset, member count, created, attempt.

Member count 0: members are first + i * step. Member offset counts i32 in the members area.
A negative first member with member count 0: members are not known.
"""
SIGNATURE = Struct("<IBBHHHHHHHiiI")
"""communicator, op code, clock, channels, native, dtype, redop, algo, proto (string ids), graph, peer, root, traits."""
OPERATION = Struct("<Q32sQQqqqqq8x8x8xQ")
"""An operation in flight: head, signature, state word, id, seq, fn_seq, p2p_seq, nbytes, enqueued, tail."""
ENDED_OPERATION = Struct("<Q32sQQqqqqq8xq8xQ")
"""The same with the time it ended before the tail."""
OPERATION_BYTES = 128
OPERATION_FIELDS = [
    ("head", "<u8"),
    ("comm", "<u4"),
    ("op", "u1"),
    ("clock", "u1"),
    ("channels", "<u2"),
    ("native", "<u2"),
    ("dtype", "<u2"),
    ("redop", "<u2"),
    ("algo", "<u2"),
    ("proto", "<u2"),
    ("graph", "<u2"),
    ("peer", "<i4"),
    ("root", "<i4"),
    ("traits", "<u4"),
    ("state", "u1"),
    ("flags", "u1"),
    ("spare2", "<u2"),
    ("group", "<u4"),
    ("id", "<u8"),
    ("seq", "<i8"),
    ("fn_seq", "<i8"),
    ("p2p_seq", "<i8"),
    ("nbytes", "<i8"),
    ("enqueued", "<i8"),
    ("started", "<i8"),
    ("ended", "<i8"),
    ("stream", "<i8"),
    ("tail", "<u8"),
]
"""The same record as numpy sees it: numbers not known are -1 (seq, fn_seq, p2p_seq, peer, root) or 0 (the rest)."""
TRANSFER_FIELDS = [
    ("head", "<u8"),
    ("comm", "<u4"),
    ("kind", "u1"),
    ("side", "u1"),
    ("channel", "<u2"),
    ("peer", "<i4"),
    ("steps", "<u4"),
    ("ready", "<u4"),
    ("posted", "<u4"),
    ("done", "<u4"),
    ("spare", "<u4"),
    ("state", "u1"),
    ("flags", "u1"),
    ("spare2", "<u2"),
    ("wire_max", "<u4"),
    ("id", "<u8"),
    ("seq", "<i8"),
    ("nbytes", "<i8"),
    ("started", "<i8"),
    ("progress", "<i8"),
    ("gpu_wait", "<i8"),
    ("credit_wait", "<i8"),
    ("wire", "<i8"),
    ("flush", "<i8"),
    ("tail", "<u8"),
]
"""What one rank moved to or from one peer through one channel for one operation: waits are sums over its steps, ns.

`peer` is a rank in the communicator. `progress` is when a step last went on, and the end once it is completed.
"""
SAMPLE_BYTES = 256
SAMPLE = Struct("<QqI12s216sQ")
"""head, end of the second, times seen, kind, where, tail."""
MESSAGE_BYTES = 512
MESSAGE = Struct("<Qqq32s448sQ")
"""head, time, code, kind, text, tail."""
NO_CODE = -(1 << 63)
"""The code of a message that has none."""


class Area(NamedTuple):
    """One area of a ring file: bytes from the start of the file, bytes of a record, records."""

    offset: int
    record_bytes: int
    capacity: int


class Plan(NamedTuple):
    """Sizes and places of one ring file."""

    areas: dict[str, Area]
    lanes: int
    file_bytes: int


def plan(*, lanes: int = LANES, lane_records: int = LANE_RECORDS) -> Plan:
    """Lay out a ring file.

    Args:
        lanes: Threads that get a lane of their own, 1 to `MAX_LANES`.
        lane_records: Records of one lane, a power of two.
    """
    if not 1 <= lanes <= MAX_LANES or lane_records < 2 or lane_records & (lane_records - 1):
        raise ValueError(f"{lanes} lanes of {lane_records} records: not 1 to {MAX_LANES} lanes of a power of two")
    sizes = (
        (1, STRING_BYTES),
        (COMMUNICATOR.size, COMMUNICATORS),
        (4, MEMBERS),
        (OPERATION_BYTES, OPEN_SLOTS),
        (SAMPLE_BYTES, SAMPLES),
        (MESSAGE_BYTES, MESSAGES),
        (OPERATION_BYTES, lane_records),
    )
    areas, offset = {}, HEADER_BYTES
    for name, (record_bytes, capacity) in zip(AREA_NAMES, sizes, strict=True):
        areas[name] = Area(offset, record_bytes, capacity)
        offset += record_bytes * capacity * (lanes if name == "lanes" else 1)
    return Plan(areas, lanes, offset)


def counter_at(name: str) -> int:
    """Return the byte offset of a counter in the header."""
    return COUNTERS_AT + 8 * COUNTER_NAMES.index(name)


def cursor_at(ring: int) -> int:
    """Return the byte offset of a ring's cursor: 0 samples, 1 messages, 2 the first lane."""
    return CURSORS_AT + CURSOR_STRIDE * ring
