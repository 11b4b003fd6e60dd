"""What ranks of the same role did, to tell a rank that stopped from one that could not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator
    from offbeat.analyzer.postmortem.waits import Wait
    from offbeat.analyzer.readers.dumps import Entry

TRAIL = 8
"""Calls that ranks of one role must have made alike before the one in question."""
LEAST = 3
"""Least of them that must be recorded: with fewer, two roles look the same by accident."""


class Trails:
    """Each rank's recorded calls in order, gathered when asked for."""

    def __init__(self, comms: Sequence[Communicator]) -> None:
        self._comms = comms
        self._calls: dict[int, list[tuple[Communicator, Entry]]] = {}

    def of(self, rank: int) -> list[tuple[Communicator, Entry]]:
        """Return the calls of *rank*, oldest first."""
        if rank not in self._calls:
            calls = [
                (comm, entry)
                for comm in self._comms
                if (part := comm.parts.get(rank)) is not None
                for entry in (*part.ops.values(), *part.p2p)
            ]
            self._calls[rank] = sorted(calls, key=lambda call: call[1].record)
        return self._calls[rank]

    def stopped_alone(self, rank: int) -> bool:
        """Tell whether *rank* launched nothing after a collective that its peers are stuck in too and went on from.

        Its peers are the other members of that collective's communicator, at least two, that came to it by the same
        calls. What did not stop their hosts need not have stopped its own: neither a wait, nor a full launch queue,
        for they have more calls outstanding than it has.
        """
        mine = self.of(rank)
        if not mine:
            return False
        comm, last = mine[-1]
        if last.p2p or not last.open:
            return False
        peers = [r for r, p in comm.parts.items() if r != rank and last.seq in p.ops and p.ops[last.seq].open]
        outstanding = _outstanding(mine)
        return len(peers) > 1 and all(
            _outstanding(self.of(peer)) > outstanding and self._went_on(peer, mine, comm, last) for peer in peers
        )

    def went_past(self, rank: int, wait: Wait) -> bool:
        """Tell whether *rank* made other calls where those who wait for it in *wait* made that one.

        It did not if its last calls are those that one of them made directly before. Where too few are recorded to
        tell, it is taken to have stopped: leaving a call out is the rarer thing.
        """
        mine = [_kind(*call) for call in self.of(rank)][-TRAIL:]
        told = False
        for peer, entry in wait.waiting.items():
            theirs = self.of(peer)
            at = next(i for i in range(len(theirs) - 1, -1, -1) if theirs[i][1] is entry)
            before = [_kind(*call) for call in theirs[max(0, at - TRAIL) : at]]
            length = min(len(mine), len(before))
            if length >= LEAST and mine[-length:] == before[-length:]:
                return False
            told = told or length >= LEAST
        return told

    def _went_on(self, peer: int, mine: list[tuple[Communicator, Entry]], comm: Communicator, last: Entry) -> bool:
        theirs = self.of(peer)
        at = next(i for i in range(len(theirs) - 1, -1, -1) if theirs[i][1] is comm.parts[peer].ops[last.seq])
        if at == len(theirs) - 1:
            return False
        length = min(TRAIL, len(mine), at + 1)
        alike = [_kind(*call) for call in mine[-length:]] == [_kind(*call) for call in theirs[at + 1 - length : at + 1]]
        return length >= LEAST and alike


def _outstanding(calls: Sequence[tuple[Communicator, Entry]]) -> int:
    return sum(entry.open for _, entry in calls)


def _kind(comm: Communicator, entry: Entry) -> tuple[str, str]:
    return comm.desc or comm.name, entry.native
