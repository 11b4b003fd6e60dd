"""What a source of telemetry is: one file under `collector/sources`, all held to one contract test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class NoData(Exception):  # noqa: N818 - a normal outcome, not an error
    """There is nothing of this kind on this machine, or nothing new: a normal outcome."""


@dataclass(frozen=True, slots=True)
class LocalRank:
    """A live process of a job on this host."""

    job: str
    """Empty if unknown."""
    attempt: int
    rank: int
    """-1 if unknown."""
    pid: int
    """What the agent's own PID namespace calls it, 0 if that cannot see it."""

    @property
    def readable(self) -> bool:
        """Say whether its rank is known and `/proc` shows it."""
        return self.rank >= 0 and self.pid > 0


Ranks = Callable[[], Sequence[LocalRank]]
"""The ranks alive on this host now."""


class Source(Protocol):
    """Reads one kind of fact from this machine."""

    name: str
    """The file's name; also what logs and counters call it."""
    sampled: bool
    """True: read once per sample period. False: read at every poll, so it must be cheap."""

    def is_supported(self) -> bool:
        """Say whether this machine has what the source reads; asked once, at start."""

    def read(self) -> dict[str, pa.Table]:
        """Return what is new, by table name.

        Raises:
            NoData: There is nothing to say.
            OSError: Reading failed.
        """
