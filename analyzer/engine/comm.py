"""The window of one communicator: for the newest sequence numbers, when each member entered and left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from offbeat.analyzer.engine.family import Family, Places

Times = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Signature:
    """What members of one collective must agree on."""

    op: str
    nbytes: int
    dtype: str

    def agrees(self, other: Signature) -> bool:
        """Tell whether both can be one collective: sizes bind only where the operation makes them equal."""
        if self.op != other.op:
            return False
        return self.op not in {"all_reduce", "broadcast", "reduce"} or (
            self.nbytes == other.nbytes and self.dtype == other.dtype
        )


@dataclass(slots=True)
class Signatures:
    """Numbers for signatures, shared by all windows of a job."""

    known: list[Signature] = field(default_factory=list)
    number: dict[Signature, int] = field(default_factory=dict)
    _ops: dict[str, int] = field(default_factory=dict)
    _kinds: list[int] = field(default_factory=list)
    _kinds_array: Times = field(default_factory=lambda: np.zeros(1, np.int64))

    def of(self, signature: Signature) -> int:
        """Return the number of *signature*, giving it one if it is new."""
        if signature not in self.number:
            self.number[signature] = len(self.known)
            self.known.append(signature)
            self._kinds.append(self._ops.setdefault(signature.op, len(self._ops)))
        return self.number[signature]

    def kinds(self) -> Times:
        """Return for each signature's number one that stands for its kind of operation alone."""
        if len(self._kinds_array) != len(self._kinds):
            self._kinds_array = np.array(self._kinds or [0], np.int64)
        return self._kinds_array


class Operations(NamedTuple):
    """Rows of one communicator, a member's operation each; times in Unix ns, `leave` not positive while it lasts."""

    rank: Times
    seq: Times
    enter: Times
    leave: Times
    seen: Times
    signature: Times


class CommWindow:
    """Entries and ends of the newest operations of one communicator: its part of its family's arrays.

    `seq` is per row; `enter`, `leave`, `seen` and `signature` are rows by members.
    """

    def __init__(self, comm: str, members: tuple[int, ...], name: str = "", family: Family | None = None) -> None:
        self.comm, self.members, self.name = comm, members, name or comm
        self.column = {rank: i for i, rank in enumerate(members)}
        self.family = family or Family(max(len(members), 1))
        self.number = self.family.new()

    @property
    def capacity(self) -> int:
        """How many sequence numbers are held."""
        return self.family.capacity

    @property
    def top(self) -> int:
        """The newest sequence number, -1 without any."""
        return int(self.family.top[self.number])

    @property
    def seq(self) -> Times:
        """The sequence number each row holds, -1 for none."""
        return self.family.seq[:, self.number]

    @property
    def enter(self) -> Times:
        """When members entered, ns; 0 unknown."""
        return self.family.enter[:, self.number]

    @property
    def leave(self) -> Times:
        """When members left, ns; 0 while they are inside."""
        return self.family.leave[:, self.number]

    @property
    def seen(self) -> Times:
        """When a member's operation was last read, ns."""
        return self.family.seen[:, self.number]

    @property
    def signature(self) -> Any:
        """What members entered, as numbers of `Signatures`; -1 unknown."""
        return self.family.signature[:, self.number]

    @property
    def entered(self) -> Times:
        """Per member, the newest sequence number it entered."""
        return np.asarray(self.family.entered[self.number])

    def add(self, new: Operations) -> None:
        """Take rows of this communicator; ranks that are no members are left out."""
        columns = np.array([self.column.get(int(r), -1) for r in new.rank], np.int64)
        keep = (columns >= 0) & (new.seq >= 0)
        at = Places(np.full(keep.sum(), self.number), columns[keep], new.seq[keep])
        self.family.add(at, *(a[keep] for a in (new.enter, new.leave, new.seen, new.signature)))

    def rows(self, first: int, last: int) -> Times:
        """Return the row numbers of the sequence numbers first..last that are still held, in order."""
        first = max(first, last - self.capacity + 1, 0)
        seqs = np.arange(first, last + 1)
        rows = seqs % self.capacity
        return np.asarray(rows[self.seq[rows] == seqs], np.int64)

    def complete(self) -> Times:
        """Return the held sequence numbers that every member has left, in order."""
        done = (self.family.ends[:, self.number] == self.family.size) & (self.seq >= 0)
        return np.sort(self.seq[done])

    def open_cells(self) -> tuple[Times, Times]:
        """Return (row, column) of every operation entered and not left."""
        rows, columns = np.nonzero((self.enter > 0) & (self.leave == 0))
        return rows, columns
