"""The append-only tables of a ring, read bit by bit: strings, communicators, members."""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from offbeat.collector.ring import layout
from offbeat.collector.ring.errors import RingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MAX_MEMBERS = 1 << 21
"""Members of all communicators of a ring together; later ones have none. Without it a forged ring fills our memory."""
_U64 = struct.Struct("<Q")
_WORDS = ("native", "dtype", "redop", "algo", "proto")


class CommInfo(NamedTuple):
    """A communicator: its id in this ring, the word that is the same on all members, its name, our rank in it.

    `members` are global ranks in its order, empty where they are not known; `created_ns` is monotonic. Its operations
    belong to `attempt`, which the header has left behind once the process has made its process groups anew.
    """

    id: int
    comm: str
    name: str
    comm_rank: int
    n_ranks: int
    members: tuple[int, ...]
    created_ns: int
    attempt: int


class Tables:
    """Strings and communicators of one ring, as far as they have been read."""

    def __init__(self, read: Callable[[int, int], bytes], plan: layout.Plan) -> None:
        """Read through *read* (offset, size), which raises `RingError` where the file ends early."""
        self._read, self._areas = read, plan.areas
        self._string_end = 0
        self._communicators = self._members = 0
        self.strings = [""]

    def update(self, head: bytes) -> list[CommInfo]:
        """Read what was added, by the counters of a header; return the new communicators.

        Raises:
            RingError: A count, length or id does not fit the file.
        """
        self._read_strings(_counter(head, "strings"))
        return self._read_communicators(_counter(head, "communicators"))

    def fence(self, operations: NDArray[np.void]) -> None:
        """Replace, in place, codes and ids that point outside of their tables by "other", "unknown" and 0."""
        np.minimum(operations["op"], len(layout.OPS) - 1, out=operations["op"])
        np.minimum(operations["state"], layout.UNKNOWN, out=operations["state"])
        operations["comm"][operations["comm"] > self._communicators] = 0
        for word in _WORDS:
            operations[word][operations[word] >= len(self.strings)] = 0

    def fence_transfers(self, transfers: NDArray[np.void]) -> None:
        """Do the same for transfers."""
        np.minimum(transfers["side"], len(layout.SIDES) - 1, out=transfers["side"])
        np.minimum(transfers["state"], layout.UNKNOWN, out=transfers["state"])
        transfers["comm"][transfers["comm"] > self._communicators] = 0

    def _read_strings(self, count: int) -> None:
        missing = count + 1 - len(self.strings)
        if missing <= 0:
            return
        area = self._areas["strings"]
        if count > area.capacity // layout.STRING_HEAD.size:
            raise RingError(f"{count} strings")
        data = self._read(area.offset + self._string_end, area.capacity - self._string_end)
        at = 0
        for _ in range(missing):
            if at + layout.STRING_HEAD.size > len(data):
                raise RingError("strings run out of their area")
            (size,) = layout.STRING_HEAD.unpack_from(data, at)
            at += layout.STRING_HEAD.size
            if size > len(data) - at:
                raise RingError(f"a string of {size} bytes")
            self.strings.append(data[at : at + size].decode("utf-8", "replace"))
            at = (at + size + 3) & ~3
        self._string_end += at

    def _read_communicators(self, count: int) -> list[CommInfo]:
        area = self._areas["communicators"]
        if count > area.capacity:
            raise RingError(f"{count} communicators")
        new = max(0, count - self._communicators)
        data = self._read(area.offset + self._communicators * area.record_bytes, new * area.record_bytes)
        return [self._communicator(fields) for fields in layout.COMMUNICATOR.iter_unpack(data)]

    def _communicator(self, fields: tuple[int, ...]) -> CommInfo:
        word, name, rank, size, first, step, offset, listed, created, attempt = fields
        if max(word, name) >= len(self.strings) or not 0 <= size <= layout.MAX_GROUP:
            raise RingError(f"communicator {self._communicators + 1} of {size} members")
        self._communicators += 1
        strings = (self.strings[word], self.strings[name])
        members = self._list(size, first, step, offset, listed)
        return CommInfo(self._communicators, *strings, rank, size, members, created, attempt)

    def _list(self, size: int, first: int, step: int, offset: int, listed: int) -> tuple[int, ...]:
        if (listed == 0 and first < 0) or self._members + size > MAX_MEMBERS:
            return ()
        self._members += size
        if listed == 0:
            return tuple(range(first, first + size * step, step)) if step else (first,) * size
        area = self._areas["members"]
        if listed != size or offset + listed > area.capacity:
            raise RingError(f"{listed} members at {offset}")
        return tuple(array("i", self._read(area.offset + 4 * offset, 4 * listed)))


def _counter(head: bytes, name: str) -> int:
    value: int = _U64.unpack_from(head, layout.counter_at(name))[0]
    return value
