"""What a poll of a ring returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from offbeat.collector.ring.tables import CommInfo


class RingHeader(NamedTuple):
    """Who writes a ring. `rank`, `world` and `local_rank` are -1 until known; `created_ns` is Unix time."""

    job: str
    attempt: int
    rank: int
    world: int
    local_rank: int
    pid: int
    start_ticks: int
    pidns: int
    netns: int
    hostname: str
    uid: int
    created_ns: int
    source: str


class Sample(NamedTuple):
    """How often the main thread was seen at one place in the second that ended at `at_ns` (monotonic)."""

    at_ns: int
    kind: str
    where: str
    n: int


class Message(NamedTuple):
    """One line from the recorder; `at_ns` is monotonic."""

    at_ns: int
    kind: str
    text: str
    code: int | None


class ExitMark(NamedTuple):
    """The process said that it ends; `at_ns` is monotonic. One that was killed says nothing."""

    code: int
    at_ns: int


class RingPoll(NamedTuple):
    """What is new in a ring. Every time in it is the writer's CLOCK_MONOTONIC; `unix` converts.

    `completed` and `open` are arrays of `OPERATION`, `moved` and `moving` the same of `TRANSFER`. Their op codes,
    states, communicator and string ids are valid indices of `layout.OPS`, `records.STATES`, the ids of `comms` (0:
    unknown) and `RingReader.strings`.
    `overwritten`, `torn` and `dropped` count records lost since the last poll; `torn` also open slots that a writer was
    just then, or is for ever, in the midst of writing.
    """

    header: RingHeader
    comms: list[CommInfo]
    completed: NDArray[np.void]
    open: NDArray[np.void]
    moved: NDArray[np.void]
    moving: NDArray[np.void]
    samples: list[Sample]
    messages: list[Message]
    exit: ExitMark | None
    overwritten: int
    torn: int
    dropped: int
    clock: tuple[int, int]

    def unix(self, monotonic_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert monotonic times of this ring to Unix nanoseconds."""
        return monotonic_ns + (self.clock[1] - self.clock[0])
