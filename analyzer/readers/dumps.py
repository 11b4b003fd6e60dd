"""What one process's Flight Recorder dump says, apart from how it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

_OPS = {
    "all_reduce": "all_reduce",
    "allreduce": "all_reduce",
    "all_gather": "all_gather",
    "allgather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "all_to_all": "all_to_all",
    "alltoall": "all_to_all",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "gather": "gather",
    "scatter": "scatter",
    "barrier": "barrier",
    "send": "send",
    "recv": "recv",
    "coalesced": "coalesced",
}
_SUFFIX = re.compile(r"(_base|_oop|_coalesced|_single|_v|_into_tensor|_tensor|_start|_impl|_sparse)+$")
_P2P = re.compile(r"(send|recv)\s+(\d{1,9})\s*(->|<-)\s*(\d{1,9})")


def canonical(native: str) -> str:
    """Return the word of `records.OPS` for torch's name *native* (without its backend), `other` if there is none."""
    word = native.strip().lower().split(" ", 1)[0].lstrip("_")
    if word == "all_reduce_barrier":
        return "barrier"
    return _OPS.get(word) or _OPS.get(_SUFFIX.sub("", word), "other")


def ends(native: str) -> tuple[int, int] | None:
    """Return (source, destination), ranks inside the communicator, of a name such as `send 0->1` or `recv 3<-0`."""
    found = _P2P.match(native)
    if found is None:
        return None
    first, second = int(found[2]), int(found[4])
    return (first, second) if found[3] == "->" else (second, first)


@dataclass(slots=True)
class Entry:
    """One recorded operation.

    `seq` counts the group's collectives on this rank, or its p2p operations where `p2p` (`p2p_count` always does);
    `parts` are the operations of a coalesced call, empty for others. `open` means launched and not seen to finish;
    `started` that the device was seen to begin it, `gave_up` that the recorder dropped it without seeing it finish.
    Times are Unix nanoseconds.
    """

    record: int
    pg_id: int
    group: str
    desc: str
    seq: int
    native: str
    op: str
    p2p: bool
    p2p_count: int
    open: bool
    gave_up: bool
    sizes: tuple[object, object]
    dtypes: tuple[object, object]
    created: int | None
    started: bool
    finished: int | None
    timeout_ms: int | None
    parts: list[Entry] = field(default_factory=list)

    @property
    def coalesced(self) -> bool:
        """Whether it ends a coalesced call, whose parts came before it."""
        return self.native.lower().endswith("coalesced")

    @property
    def numels(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Elements of each input and of each output tensor."""
        return _numels(self.sizes[0]), _numels(self.sizes[1])

    @property
    def types(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Distinct element types in and out."""
        return _words(self.dtypes[0]), _words(self.dtypes[1])


def _numels(sizes: object) -> tuple[int, ...]:
    if not isinstance(sizes, (list, tuple)):
        return ()
    shapes = [s for s in sizes[:4096] if isinstance(s, (list, tuple))]
    return tuple(prod(d for d in shape[:64] if isinstance(d, int)) for shape in shapes)


def _words(types: object) -> tuple[str, ...]:
    if isinstance(types, str):
        return (types,) if types else ()
    if not isinstance(types, (list, tuple)):
        return ()
    return tuple(sorted({t for t in types[:4096] if isinstance(t, str) and t}))


@dataclass(frozen=True, slots=True)
class Status:
    """A group's counters as its process keeps them. They count collectives and p2p operations alike; -1 is none."""

    enqueued: int
    completed: int


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """A group as its process knows it; `ranks` are global, empty when the dump does not say."""

    name: str
    desc: str
    ranks: tuple[int, ...]


@dataclass(slots=True)
class Dump:
    """One process's dump.

    `records` counts what the file holds, of which `entries` are kept; `complete` says that its ring never wrapped.
    `oldest` and `newest` are times found inside, `written` when the file was modified, Unix ns; 0 for unknown.
    `unfinished_only` says that what had finished was left out of the dump.
    `batching` names the groups (by description, else by name) whose sends and receives were seen in coalesced calls.
    """

    path: str
    rank: int
    version: str
    library: str
    configs: list[GroupConfig]
    status: dict[str, Status]
    entries: list[Entry]
    records: int
    oldest: int
    newest: int
    written: int
    complete: bool
    unfinished_only: bool = False
    batching: set[str] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all about what the process did."""
        return not self.records and not self.status
