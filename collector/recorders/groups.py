"""The process groups of torch: their words, members and counters."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.ring.writer import RingWriter


class Group:
    """One process group, as this member counts its operations."""

    __slots__ = ("communicator", "members", "p2p", "seq", "signatures", "without_future")

    def __init__(self, communicator: int, members: tuple[int, ...]) -> None:
        """Start counting at 0."""
        self.communicator = communicator
        self.members = members
        self.seq = 0
        self.p2p: dict[tuple[str, int | None], int] = {}
        self.signatures: dict[Any, bytes] = {}
        self.without_future: set[str] = set()

    def global_rank(self, rank: int | None) -> int:
        """Return the global rank of a member, -1 where it is not known."""
        return self.members[rank] if rank is not None and 0 <= rank < len(self.members) else -1


class Groups:
    """All groups that were seen, by the identity of torch's object, which we do not keep alive."""

    def __init__(self, ring: RingWriter, on_new: Callable[[], None]) -> None:
        """Tell *ring* about each group; call *on_new* before the first operation of each."""
        self._ring = ring
        self._on_new = on_new
        self._known: dict[int, tuple[Group, weakref.ref[Any]]] = {}

    def of(self, pg: Any) -> Group:
        """Return what we know of a process group of torch."""
        known = self._known.get(id(pg))
        return known[0] if known is not None else self._add(pg)

    def _add(self, pg: Any) -> Group:
        self._on_new()
        members = _members(pg)
        name = str(pg.group_name)
        size = pg.size()
        communicator = self._ring.communicator(word(name, members, size), name, pg.rank(), members, size)
        group = Group(communicator, members)
        key = id(pg)
        self._known[key] = (group, weakref.ref(pg, lambda _: self._known.pop(key, None)))
        return group


def word(name: str, members: tuple[int, ...], size: int) -> str:
    """Return what a group is called on all its members: names repeat within a job, names with members do not."""
    import hashlib  # noqa: PLC0415 - a trainer that is never distributed needs none

    said = ",".join(map(str, members)) if members else f"size {size}"
    return f"{name}@{hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()[:8]}"


def _members(pg: Any) -> tuple[int, ...]:
    import torch.distributed as dist  # noqa: PLC0415 - a trainer's import, and there by now

    try:
        return tuple(dist.get_process_group_ranks(pg))
    except Exception:  # noqa: BLE001 - a group made by hand, of which torch keeps no list
        return ()
