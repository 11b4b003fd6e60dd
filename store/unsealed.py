"""What is accepted and not yet sealed: logs on disk, and their batches decoded in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.store.log import Log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa


@dataclass(slots=True, eq=False)
class Buffer:
    """A log and, decoded, the batches in it that count.

    Args:
        log: The log.
        doubtful: A write to it failed half-way: what it holds must be found out from the disk and the ledger.
    """

    log: Log
    doubtful: bool = False
    batches: list[Mapping[str, pa.Table]] = field(default_factory=list)
    nbytes: int = 0
    received_at: int = 0
    first_received_at: int | None = None

    def add(self, tables: Mapping[str, pa.Table], received_at: int) -> None:
        """Take in a batch that was received at *received_at* (ns)."""
        self.nbytes += sum(data.nbytes for data in tables.values())
        self.received_at = max(self.received_at, received_at)
        if self.first_received_at is None or received_at < self.first_received_at:
            self.first_received_at = received_at
        self.batches.append(tables)

    def of(self, record: str) -> list[pa.Table]:
        """Return all rows of the table *record*, in pieces."""
        return [batch[record] for batch in tuple(self.batches) if record in batch]


class Unsealed:
    """The log that is written now, and those that wait to be sealed.

    `view` guards the moment in which rows move from here to the catalogue: who holds it sees them in one of both.
    """

    def __init__(self, directory: Path) -> None:
        """Start with nothing; logs are created in *directory*."""
        self.view = threading.Lock()
        self._directory = directory
        self._live: Buffer | None = None
        self._waiting: list[Buffer] = []

    @property
    def live(self) -> Buffer | None:
        """The buffer that takes batches now, if any."""
        return self._live

    @property
    def nbytes(self) -> int:
        """Decoded bytes of all."""
        return sum(buffer.nbytes for buffer in self.all())

    def all(self) -> list[Buffer]:
        """Return every buffer, the live one last."""
        live, waiting = self._live, list(self._waiting)
        return waiting if live is None or live in waiting else [*waiting, live]

    def waiting(self) -> list[Buffer]:
        """Return the buffers that wait to be sealed."""
        return list(self._waiting)

    def open(self) -> Buffer:
        """Return the live buffer, a new one if there is none.

        Raises:
            OSError: The disk refuses a new log.
        """
        if self._live is None:
            self._live = Buffer(Log.create(self._directory))
        return self._live

    def rotate(self, *, doubtful: bool = False) -> None:
        """Let the live buffer wait to be sealed; only for who also writes to it, or keeps others from doing so."""
        with self.view:
            if self._live is not None:
                self._live.doubtful = doubtful
                self._waiting.append(self._live)
                self._live = None

    def remove(self, buffer: Buffer) -> None:
        """Let go of *buffer*, whose rows are in the catalogue now; only for who holds `view`."""
        if buffer in self._waiting:
            self._waiting.remove(buffer)
