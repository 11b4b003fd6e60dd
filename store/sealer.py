"""The sealer: turns logs into segments, merges small segments into larger ones, takes over what the dead left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import structlog

from offbeat import metrics, wire
from offbeat.store import catalogue, ledger, segments
from offbeat.store.errors import StoreError
from offbeat.store.log import SUFFIX, Log, sync_directory
from offbeat.store.unsealed import Buffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from offbeat.store.engine import Database
    from offbeat.store.unsealed import Unsealed

_damaged = metrics.counter("offbeat_store_damaged_segments_total")
_unreadable = metrics.counter("offbeat_store_unreadable_batches_total")
_log = structlog.get_logger("offbeat.store")


class Sealer:
    """Writes segments. One thread at a time may use it."""

    def __init__(self, database: Database, directory: Path, unsealed: Unsealed) -> None:
        """Write segments into *directory* and enter them in *database*."""
        self._database = database
        self._directory = directory
        self._unsealed = unsealed

    def seal(self, buffer: Buffer) -> None:
        """Write the batches of *buffer* as segments, enter them, and delete its log.

        Raises:
            OSError: The disk does not take it; the batches stay readable, and safe in their log.
            UnavailableError: The same, of the database.
        """
        source, unread = (buffer, 0) if not buffer.doubtful else self._from_disk(buffer.log)
        parts = self._write(source.batches, source.received_at)
        try:
            with self._unsealed.view:
                with self._database.write() as connection:
                    catalogue.add(connection, parts)
                    ledger.sealed(connection, buffer.log.name)
                self._unsealed.remove(buffer)
        except StoreError:
            # The files stay: the commit may have happened. If it did not, `expire` finds them in no catalogue.
            buffer.doubtful = True
            raise
        if unread:
            buffer.log.set_aside()
        else:
            buffer.log.delete()

    def merge(self) -> bool:
        """Bring some small files together; False when there was nothing to do.

        Raises:
            OSError: The disk does not take it; nothing has changed.
            UnavailableError: The same, of the database.
        """
        with self._database.read() as connection:
            due = catalogue.mergeable(connection)
        if due is None:
            return False
        if len(due.paths) == 1:
            with self._database.write() as connection:
                catalogue.raise_level(connection, due.paths[0])
            return True
        pieces = []
        for path in due.paths:
            try:
                pieces.append(segments.read(self._directory / path, due.record, None))
            except (OSError, pa.ArrowException) as error:
                _damaged.inc()
                _log.error("segment file is damaged or missing", path=path, error=str(error))
                with self._database.write() as connection:
                    catalogue.raise_level(connection, path)
                return True
        parts = segments.write(
            self._directory,
            due.record,
            pa.concat_tables(pieces),
            received_at=due.received_at,
            level=due.level + 1,
        )
        sync_directory(self._directory)
        with self._database.write() as connection:
            replaced = catalogue.replace(connection, due.paths, parts)
        self.discard(due.paths if replaced else [part.path for part in parts])
        return replaced

    def recover(self, logs: Path) -> None:
        """Seal every log in the directory *logs* whose writer is dead.

        Raises:
            OSError: The disk does not take it; the logs stay for the next try.
            UnavailableError: The same, of the database.
        """
        for path in sorted(logs.iterdir()):
            log = Log.take_over(path) if path.suffix in {SUFFIX, ".new"} else None
            if log is not None and path.suffix == SUFFIX:
                self.seal(Buffer(log, doubtful=True))
            elif log is not None:
                log.delete()

    def discard(self, names: Sequence[str]) -> None:
        """Delete segment files."""
        for name in set(names):
            (self._directory / name).unlink(missing_ok=True)

    def _write(self, batches: Sequence[Mapping[str, pa.Table]], received_at: int) -> list[segments.Part]:
        parts: list[segments.Part] = []
        try:
            for record in sorted({record for batch in batches for record in batch}):
                data = pa.concat_tables([batch[record] for batch in batches if record in batch])
                if data.num_rows:
                    parts += segments.write(self._directory, record, data, received_at=received_at, level=0)
            sync_directory(self._directory)
        except BaseException:
            self.discard([part.path for part in parts])
            raise
        return parts

    def _from_disk(self, log: Log) -> tuple[Buffer, int]:
        """Read back what counts of *log*, entering what the ledger has nowhere; and how many batches are unreadable."""
        entries = {(entry.host, entry.incarnation, entry.n): entry for entry in log.entries()}
        with self._database.write() as connection:
            counted = ledger.entered(connection, log.name)
            asks = [ledger.Ask(*key, entry.received_at) for key, entry in entries.items() if key not in counted]
            if asks:
                counted |= {(*ask.key, ask.n) for ask in ledger.admit(self._database, connection, asks, log.name)}
        found, unread = Buffer(log), 0
        for key in sorted(counted):
            try:
                found.add(wire.decode(entries[key].body)[0], entries[key].received_at)
            except (KeyError, wire.WireError) as error:
                unread += 1
                _unreadable.inc()
                _log.error("an accepted batch cannot be read back", log=log.name, batch=key, error=repr(error))
        return found, unread
