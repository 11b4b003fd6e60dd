"""Who waits where, for whom: every unfinished operation with the members that keep it from finishing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem.signatures import synchronising
from offbeat.analyzer.readers.dumps import ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator
    from offbeat.analyzer.readers.dumps import Entry


@dataclass(slots=True, eq=False)
class Wait:
    """One unfinished operation.

    `waiting` are the members stuck in it, with their entry. Who keeps them there: `absent` never launched it,
    `behind` are stuck in an earlier call of the same communicator, `queued` launched it but have something older
    unfinished elsewhere, `unknown` left nothing that tells. `passed` have finished it.
    """

    comm: Communicator
    seq: int
    waiting: dict[int, Entry] = field(default_factory=dict)
    absent: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    queued: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()
    peers: tuple[int, int] | None = None

    @property
    def p2p(self) -> bool:
        """Whether it is a send or receive, between `peers` (source, destination)."""
        return self.peers is not None

    @property
    def entry(self) -> Entry:
        """The call as the lowest waiting rank entered it."""
        return self.waiting[min(self.waiting)]

    @property
    def since(self) -> int | None:
        """When the first waiting member entered, Unix ns of its own host."""
        return min((e.created for e in self.waiting.values() if e.created is not None), default=None)

    @property
    def failed(self) -> bool:
        """Whether all who waited gave up, of a backend that does not tell failure from success."""
        return all(
            e.gave_up and r in self.comm.parts and not self.comm.parts[r].ordered for r, e in self.waiting.items()
        )

    @property
    def synchronising(self) -> bool:
        """Whether nobody can finish it before all have entered."""
        return not self.p2p and all(synchronising(entry) for entry in self.waiting.values())


def find(comms: Sequence[Communicator], trusted: set[int]) -> list[Wait]:
    """Return the operations that members are stuck in, each member's oldest of every communicator."""
    waits = [wait for comm in comms for wait in _collectives(comm, trusted)]
    waits += [wait for comm in comms for wait in _transfers(comm, trusted)]
    oldest: dict[int, int] = {}
    for wait in waits:
        for rank, entry in wait.waiting.items():
            oldest[rank] = min(oldest.get(rank, entry.record), entry.record)
    for wait in waits:
        wait.queued = tuple(sorted(r for r, e in wait.waiting.items() if oldest[r] < e.record))
    return waits


def _collectives(comm: Communicator, trusted: set[int]) -> Iterable[Wait]:
    stuck = {r: part.waits[0] for r, part in comm.parts.items() if r in trusted and part.waits}
    for seq in sorted({entry.seq for entry in stuck.values()}):
        wait = Wait(comm, seq, {r: e for r, e in stuck.items() if e.seq == seq})
        absent, behind, unknown, passed = [], [], [], []
        for rank in comm.members:
            part = comm.parts.get(rank)
            if rank in wait.waiting:
                continue
            if part is None or rank not in trusted:
                unknown.append(rank)
            elif part.launched is None or part.launched < seq:  # had it entered, its dump would show it open
                absent.append(rank)
            elif rank in stuck and stuck[rank].seq < seq:
                behind.append(rank)
            elif part.finished(seq):
                passed.append(rank)  # else a small ring has lost what it was in
        wait.absent, wait.behind, wait.unknown, wait.passed = (
            tuple(sorted(ranks)) for ranks in (absent, behind, unknown, passed)
        )
        yield wait


def _transfers(comm: Communicator, trusted: set[int]) -> Iterable[Wait]:
    waits: dict[tuple[int, int], Wait] = {}
    for rank, part in comm.parts.items():
        for entry in part.p2p if rank in trusted else ():
            pieces = (entry.parts or [entry]) if entry.open else ()
            for peers in filter(None, (_peers(comm, piece) for piece in pieces)):
                if rank in peers:
                    wait = waits.setdefault(peers, Wait(comm, entry.seq, peers=peers))
                    wait.waiting.setdefault(rank, entry)
    for (source, destination), wait in waits.items():
        other = [rank for rank in (source, destination) if rank not in wait.waiting]
        wait.absent = tuple(rank for rank in other if rank in trusted)
        wait.unknown = tuple(rank for rank in other if rank not in trusted)
    return waits.values()


def _peers(comm: Communicator, entry: Entry) -> tuple[int, int] | None:
    """Return the global (source, destination) of a send or receive."""
    local = ends(entry.native)
    if local is None:
        return None
    source, destination = comm.global_rank(local[0]), comm.global_rank(local[1])
    return None if source is None or destination is None or source == destination else (source, destination)
