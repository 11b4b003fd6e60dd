"""One ring that the agent follows: its reader, its process, and what it has told so far."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector.exits import ExitWatch
from offbeat.collector.ring.errors import RingError
from offbeat.collector.ring.place import Process, ring_name
from offbeat.collector.ring.reader import RingHeader, RingPoll, RingReader
from offbeat.collector.source import LocalRank

if TYPE_CHECKING:
    from offbeat.collector.ring.reader import CommInfo


class LocalRing:
    """A ring and its process. Memberships are kept, to be told again to a service that has forgotten them."""

    def __init__(self, path: Path, proc: Path = Path("/proc")) -> None:
        """Open the ring and watch its process.

        Raises:
            RingError: It is no ring, or not the one that its name tells of.
        """
        self.path = path
        self.reader = RingReader(path)
        if path.name != ring_name(process_of(self.header), self.header.source):
            self.reader.close()
            raise RingError(f"{path}: not the ring that its name tells of")
        self.comms: list[CommInfo] = []
        self.told_at = 0
        """When its rank and memberships were last sent (monotonic ns), and as whose."""
        self.told: tuple[RingHeader, LocalRank] | None = None
        self.last_exception: str | None = None
        self.over = False
        """Whether its process had ended before the last reading."""
        self.alive_at = 0
        """When we last found its process alive, Unix ns."""
        self._offset_ns = 0
        self._active_ns = 0
        self.pid = self.reader.local_pid() or 0
        self._watch = self._watched(proc)

    @property
    def header(self) -> RingHeader:
        """Who writes it, as last read."""
        return self.reader.header

    def identity(self, other: RingHeader | None = None) -> LocalRank:
        """Return whose ring it is: as it says itself, or as *other* does, a ring of the same process."""
        header = other or self.header
        return LocalRank(header.job, header.attempt, header.rank, self.pid)

    def ended(self) -> bool:
        """Say whether its process has ended; then nobody writes it any more."""
        return self._watch.ended() if self._watch else not self.reader.alive()

    def poll(self) -> RingPoll:
        """Return what is new in it.

        Raises:
            RingError: It was truncated, or holds what no writer wrote.
        """
        found = self.reader.poll()
        self.comms += found.comms
        if found.clock[1]:
            self._offset_ns = found.clock[1] - found.clock[0]
        ends = [int(found.completed["ended"].max())] if len(found.completed) else []
        ends += [int(moves["progress"].max()) for moves in (found.moved, found.moving) if len(moves)]
        starts = [int(found.open["enqueued"].max())] if len(found.open) else []
        said = [sample.at_ns for sample in found.samples] + [message.at_ns for message in found.messages]
        self._active_ns = max([self._active_ns, found.clock[0], *ends, *starts, *said])
        return found

    def last_sign(self) -> int:
        """Return when its process certainly still lived, Unix ns.

        Of several processes that end within one poll, the one whose death killed the others stopped writing first.
        """
        active = self.unix(self._active_ns) if self._active_ns else self.header.created_ns
        return min(max(self.alive_at, active), time.time_ns())

    def unix(self, monotonic_ns: int) -> int:
        """Convert a time of its writer to Unix ns; until the writer has said what the time is, our clock must do."""
        return monotonic_ns + (self._offset_ns or time.time_ns() - time.monotonic_ns())

    def exit_code(self) -> int | None:
        """Return how its process ended, if the kernel still knows."""
        return self._watch.code() if self._watch else None

    def close(self) -> None:
        """Close the ring and let go of its process."""
        self.reader.close()
        if self._watch:
            self._watch.close()
            self._watch = None

    def _watched(self, proc: Path) -> ExitWatch | None:
        if not self.pid:
            return None
        try:
            watch = ExitWatch(self.pid, proc)
        except OSError:  # it ended just now, or pidfds cannot be had: the ring itself tells, only not how it ended
            return None
        if self.reader.local_pid() != self.pid:  # the number went to another process in between
            watch.close()
            return None
        return watch


def process_of(header: RingHeader) -> Process:
    """Return the process that a ring's header tells of."""
    return Process(header.pidns, header.pid, header.start_ticks)
