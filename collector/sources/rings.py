"""The recorders' rings: operations, memberships, samples, messages, and the end of the processes that write them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from offbeat import records
from offbeat.collector import convert, network, transfers
from offbeat.collector.localring import LocalRing, process_of
from offbeat.collector.ring.errors import RingError
from offbeat.collector.ring.place import Process, discover, parse_name
from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, LocalRank, NoData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from offbeat.collector.ring.polled import Message
    from offbeat.collector.ring.reader import RingPoll

TELL_AGAIN_NS = 30_000_000_000
"""How often ranks and memberships are sent again; without it a service that starts anew never learns them."""
AGREED = "torch"
"""The recorder whose ranks agree on job and attempt."""
RETRY_NS = 5_000_000_000
"""How long a file that is no ring is left alone."""
MAX_RINGS = 1024
"""Rings followed at once; without it, whoever may write the directory takes all of the agent's files and time."""

_FOREVER = 1 << 62

_log = structlog.get_logger()


class RingsSource:
    """All rings that are this agent's.

    Those are all of its directory, or, when the agent runs in a network namespace of its own, those of processes in
    that namespace: so several "hosts" on one machine can share a directory.
    """

    name = "rings"
    sampled = False

    def __init__(self, host: str, directory: Path, *, proc: Path = Path("/proc"), clock: Clock = time.time_ns) -> None:
        """Read the rings of *directory*."""
        self.counts: Counter[str] = Counter()
        self._host = host
        self._directory = directory
        self._proc = proc
        self._clock = clock
        self._rings: dict[Path, LocalRing] = {}
        self._avoid: dict[Path, int] = {}
        self._finished: list[Path] = []
        self._phases: dict[tuple[Path, int | None], int] = {}
        self._exited: set[Process | None] = set()
        self._netns = network.served(proc, Path("/run/netns"))

    def is_supported(self) -> bool:
        """Say yes: a directory that is not there yet may come."""
        return True

    def ranks(self) -> list[LocalRank]:
        """Return the processes alive at the last reading, one entry each; from any thread."""
        found: dict[object, LocalRank] = {}
        for ring in list(self._rings.values()):
            rank = self._identity(ring)
            found.setdefault(rank.pid or process_of(ring.header), rank)
        return list(found.values())

    def overwritten(self) -> int:
        """Return how many ring records were lost since the agent started."""
        return self.counts["overwritten"]

    def take_finished(self) -> list[Path]:
        """Return rings read out to their end since the last call: to be reaped once their rows are safe."""
        finished, self._finished = self._finished, []
        return finished

    def read(self) -> dict[str, pa.Table]:
        """Return what is new in all rings, and every operation in flight.

        Raises:
            NoData: There is nothing.
        """
        self._discover()
        now = self._clock()
        told = time.monotonic_ns()
        pieces: list[convert.Piece] = []
        moves: list[transfers.Moves] = []
        rows: dict[str, list[dict[str, Any]]] = {
            "jobs": [],
            "ranks": [],
            "memberships": [],
            "samples": [],
            "spans": [],
        }
        events = Events(self._host)
        over: list[tuple[LocalRing, LocalRank, RingPoll | None]] = []
        # Torch's first: theirs say who the others of their processes are.
        for path, ring in sorted(self._rings.items(), key=lambda item: item[1].header.source != AGREED):
            ended = ring.over = ring.ended()  # before the last reading, which then is complete
            try:
                found = ring.poll()
            except RingError as error:
                self._give_up(path, str(error))
                if ended:
                    over.append((ring, self._identity(ring), None))
                else:
                    self._close(path)
                continue
            rank = self._identity(ring)
            self.counts["overwritten"] += found.overwritten + found.torn + found.dropped
            self._messages(ring, rank, found, events, rows["spans"])
            self._take(ring, rank, found, pieces, moves)
            self._tell(ring, rank, found, told, rows)
            if ended:
                over.append((ring, rank, found))
                self._finished.append(path)
                self._avoid[path] = _FOREVER
            else:
                ring.alive_at = now
        self._exits(over, events)
        for ring, _, _ in over:
            self._close(ring.path)
        tables = {name: _table(name, found) for name, found in rows.items() if found}
        if pieces:
            tables["collectives"] = convert.collectives(pieces, now)
        if events:
            tables["events"] = events.table()
        tables |= transfers.tables(moves, now)
        if not tables:
            raise NoData
        return tables

    def _discover(self) -> None:
        now = time.monotonic_ns()
        present = set(discover(self._directory))
        self._avoid = {path: until for path, until in self._avoid.items() if path in present}
        self._exited &= {parse_name(path.name) for path in present}
        for path in sorted(present - self._rings.keys()):
            if self._avoid.get(path, 0) > now:
                continue
            if len(self._rings) >= MAX_RINGS:
                self._give_up(path, f"{MAX_RINGS} rings are followed already")
                continue
            try:
                ring = LocalRing(path, self._proc)
            except RingError as error:
                self._give_up(path, str(error))
                continue
            if self._netns is not None and ring.header.netns != self._netns:
                self._avoid[path] = _FOREVER
                ring.close()
                continue
            self._rings[path] = ring

    def _give_up(self, path: Path, why: str) -> None:
        if path not in self._avoid:
            self.counts["unreadable"] += 1
            _log.warning("a file in the ring directory cannot be read", path=str(path), why=why)
        self._avoid[path] = time.monotonic_ns() + RETRY_NS

    def _close(self, path: Path) -> None:
        ring = self._rings.pop(path, None)
        if ring is not None:
            ring.close()

    def _identity(self, ring: LocalRing) -> LocalRank:
        """Return whose ring it is, as its process's recorder in torch says: the ranks have agreed on it.

        A recorder beside it only knows its launcher's variables, which do not tell one start of a job from the next.
        """
        process = process_of(ring.header)
        own = [other.header for other in list(self._rings.values()) if process_of(other.header) == process]
        known = [header for header in own if header.rank >= 0]
        agreed = [header for header in known if header.source == AGREED]
        if ring.header in known and not agreed:
            return ring.identity()
        return ring.identity(next(iter(agreed or known), None))

    def _take(
        self,
        ring: LocalRing,
        rank: LocalRank,
        found: RingPoll,
        pieces: list[convert.Piece],
        moves: list[transfers.Moves],
    ) -> None:
        if rank.rank < 0:
            self.counts["unowned"] += len(found.completed)
            return
        self.counts["unowned"] += int(np.count_nonzero(found.completed["comm"] == 0))
        operations = (found.completed, found.open)
        if any(map(len, operations)):
            comms = ["", *(comm.comm for comm in ring.comms)]
            source, strings = found.header.source, ring.reader.strings
            pieces.append(convert.Piece(rank, source, ring.unix(0), operations, comms, strings))
        if len(found.moved) or len(found.moving):
            moves.append(transfers.Moves(rank, ring.unix(0), ring.comms, found.moved, found.moving, ring.over))

    def _messages(
        self, ring: LocalRing, rank: LocalRank, found: RingPoll, events: Events, spans: list[dict[str, Any]]
    ) -> None:
        for message in found.messages:
            if message.kind in {"phase_begin", "phase_end"}:
                spans += self._phase(ring, rank, message)
                continue
            exception = message.kind == "exception"
            if exception:
                ring.last_exception = message.text
            text = message.text if exception else f"{message.kind}: {message.text}"
            kind = "exception" if exception else "recorder_note"
            events.add(
                ring.unix(message.at_ns),
                kind,
                rank=rank,
                device_kind="process",
                device_id=str(ring.pid),
                code=message.code,
                message=text,
            )

    def _phase(self, ring: LocalRing, rank: LocalRank, message: Message) -> list[dict[str, Any]]:
        """Return the span that a message begins or ends; the number in its code joins both."""
        if rank.rank < 0:
            return []
        at, key = ring.unix(message.at_ns), (ring.path, message.code)
        ended_at = at if message.kind == "phase_end" else None
        started_at = self._phases.pop(key, at) if ended_at else self._phases.setdefault(key, at)
        return [_own(rank) | {"kind": message.text, "started_at": started_at, "ended_at": ended_at}]

    def _tell(
        self, ring: LocalRing, rank: LocalRank, found: RingPoll, now: int, rows: dict[str, list[dict[str, Any]]]
    ) -> None:
        """Send where its thread was, and who this is and which groups it is in: if new, and again now and then."""
        if rank.rank < 0:
            return
        rows["samples"] += [
            _own(rank) | {"at": ring.unix(s.at_ns), "kind": s.kind, "where": s.where, "n": s.n} for s in found.samples
        ]
        header = ring.header
        again = (header, rank) != ring.told or now - ring.told_at >= TELL_AGAIN_NS
        if again:
            ring.told, ring.told_at = (header, rank), now
            if header.world > 0:
                rows["jobs"].append(_own(rank, None) | {"world": header.world, "simulated": False})
            rows["ranks"].append(
                _own(rank) | {"host": self._host, "pid": ring.pid or None, "valid_from": header.created_ns}
            )
        rows["memberships"] += [
            _own(rank)
            | {
                "comm": comm.comm,
                "comm_rank": comm.comm_rank,
                "n_ranks": comm.n_ranks,
                "host": self._host,
                "pid": ring.pid or None,
                "name": comm.name,
                "created_at": ring.unix(comm.created_ns),
                "members": list(comm.members) or None,
            }
            for comm in (ring.comms if again else found.comms)
        ]

    def _exits(self, over: Sequence[tuple[LocalRing, LocalRank, RingPoll | None]], events: Events) -> None:
        """Say once for each process that it has ended, how, and when: as it said itself, else its last sign of life."""
        for ring, rank, _ in over:
            process = process_of(ring.header)
            if process in self._exited:
                continue
            self._exited.add(process)
            same = [(other, found) for other, _, found in over if process_of(other.header) == process]
            codes = [other.exit_code() for other, _ in same]
            marks = [(other.unix(found.exit.at_ns), found.exit.code) for other, found in same if found and found.exit]
            codes += [code for _, code in marks]
            events.add(
                min(marks)[0] if marks else max(other.last_sign() for other, _ in same),
                "process_exit",
                rank=rank,
                device_kind="process",
                device_id=str(ring.pid),
                code=next((code for code in codes if code is not None), None),
                message=next((other.last_exception for other, _ in same if other.last_exception), None),
            )


def _own(rank: LocalRank, number: int | None = -1) -> dict[str, Any]:
    """Return the columns that say whose a row is; without `rank` where *number* is None."""
    columns: dict[str, Any] = {"job": rank.job, "attempt": rank.attempt}
    return columns if number is None else columns | {"rank": rank.rank}


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return records.build(name, {column: [row[column] for row in rows] for column in rows[0]})
