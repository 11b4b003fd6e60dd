"""Telemetry: accepted batches, durable before they are acknowledged, readable at once, columnar soon after.

A batch goes into an append log (`log`), is entered in the ledger, and is answered. Every few seconds the log's batches
become segment files, one a table (`segments`), entered in the catalogue in the transaction that forgets the log. What
a killed process leaves behind are logs, which the next one seals when it opens (`sealer`).
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from offbeat import metrics
from offbeat.records import RecordError
from offbeat.store import catalogue, ledger, segments
from offbeat.store.errors import HostClaimedError, StoreError, UnavailableError
from offbeat.store.log import Entry
from offbeat.store.rows import Room
from offbeat.store.sealer import Sealer
from offbeat.store.unsealed import Unsealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from offbeat.store.engine import Database
    from offbeat.store.rows import Receipt

SEAL_SECONDS = 10.0
"""Age at which a log becomes segments: more costs memory and time at the next start, less leaves many small files."""
SEAL_BYTES = 64 << 20
"""Decoded bytes at which a log becomes segments, however young."""
UNSEALED_BYTES = 512 << 20
"""Decoded bytes that may wait to be sealed. Beyond it batches are refused for now; without it a slow disk fills the
service's memory instead of the agents' spools."""
UNSEALED_LOGS = 16
"""Logs that may wait to be sealed; without it a full disk gets one for every batch that it cannot take."""
NAME_LENGTH = 255
"""Characters of a host or job name; PostgreSQL cannot index much longer ones."""
_TICK_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_LARGEST = (1 << 63) - 1

_seal_failures = metrics.counter("offbeat_store_seal_failures_total")
_damaged = metrics.counter("offbeat_store_damaged_segments_total")
_log = structlog.get_logger("offbeat.store")


@dataclass(slots=True)
class _Waiting:
    ask: ledger.Ask
    tables: Mapping[str, pa.Table]
    entry: Entry
    done: bool = False
    error: Exception | None = None


class Telemetry:
    """Accepts batches of records and reads them back. Safe to use from many threads."""

    def __init__(self, database: Database, directory: Path, clock: Callable[[], int] = time.time_ns) -> None:
        """Open the logs and segments below *directory* and seal what a killed process left there.

        Raises:
            OSError: The directory cannot be written.
            UnavailableError: The database does not answer.
        """
        self._database = database
        self._clock = clock
        self._logs, self._segments = directory / "log", directory / "segments"
        for made in (self._logs, self._segments):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._unsealed = Unsealed(self._logs)
        self._sealer = Sealer(database, self._segments, self._unsealed)
        self._queue: list[_Waiting] = []
        self._queue_lock = threading.Lock()
        self._commit_lock = threading.Lock()
        self._upkeep_lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._sealer.recover(self._logs)

    def accept(
        self,
        host: str,
        incarnation: int,
        n: int,
        tables: Mapping[str, pa.Table],
        raw: bytes,
        *,
        gap: int = 0,
        sender: int | None = None,
    ) -> Receipt:
        """Store a batch once; when this returns, a kill or a power cut cannot lose it.

        Calls from several threads share one wait for the disk. A batch may be empty: an agent that had to drop one
        sends it so, else `durable` never passes the gap.

        Args:
            host: The agent's host.
            incarnation: The agent's run: when it started, ns.
            n: Number of the batch in that run; the first is 1.
            tables: Its records, as `wire.decode` gave them.
            raw: The body they were decoded from.
            gap: How many numbers right before *n* the agent will not send any more.
            sender: The run that sends it, where that is known: a later one may have found it in the spool.

        Raises:
            RecordError: The id is out of range, or a host or job name cannot be stored.
            HostClaimedError: A later started agent is alive under the same host name.
            UnavailableError: The disk or the database does not take it now.
        """
        if not (1 <= n <= _LARGEST and 0 <= incarnation <= _LARGEST):
            raise RecordError(f"batch {incarnation}/{n}: number out of range")
        _check_names(host, tables)
        self._check_room()
        now = self._clock()
        waiting = _Waiting(
            ledger.Ask(host, incarnation, n, now, segments.newest(tables), gap, empty=not tables, sender=sender),
            tables,
            Entry(host, incarnation, n, now, raw),
        )
        with self._queue_lock:
            self._queue.append(waiting)
        with self._commit_lock:
            # Whoever comes first commits for all who queued meanwhile; they find themselves done.
            if not waiting.done:
                with self._queue_lock:
                    group, self._queue = self._queue, []
                self._commit(group)
        if waiting.error is not None:
            raise waiting.error
        if waiting.ask.receipt is None:
            raise HostClaimedError(
                f"host {host!r} is claimed by another live agent, started at {waiting.ask.taken}, and by this one, "
                f"started at {incarnation}: stop one of them or give it another name"
            )
        return waiting.ask.receipt

    def read(
        self,
        table: str,
        *,
        job: str | None = None,
        attempt: int | None = None,
        host: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> pa.Table:
        """Return the records of *table*, each once, in no particular order; accepted ones are there at once.

        Args:
            table: Name in the registry.
            job: Only this job's.
            attempt: Only this attempt's.
            host: Only this host's; only for tables that name one.
            since: Only what reaches to or past this time, ns. `segments.DESCRIBING` tables know no time.
            until: Only what begins before this time, ns.

        Raises:
            RecordError: There is no such table.
            StoreError: A segment file is damaged or missing.
            UnavailableError: The database does not answer.
        """
        wanted = segments.condition(table, job=job, attempt=attempt, host=host, since=since, until=until)
        for last_try in (False, False, True):
            with self._unsealed.view:
                pieces = [piece for buffer in self._unsealed.all() for piece in buffer.of(table)]
                with self._database.read() as connection:
                    paths = catalogue.paths(connection, table, job=job, attempt=attempt, since=since, until=until)
            try:
                found = [segments.read(self._segments / path, table, wanted) for path in paths]
            except FileNotFoundError as error:
                # Merged into another file since the catalogue was asked; ask again.
                if last_try:
                    _damaged.inc()
                    raise StoreError(f"segment file is missing: {error}") from error
            except (OSError, pa.ArrowException) as error:
                _damaged.inc()
                raise StoreError(f"segment file is damaged: {error}") from error
            else:
                break
        fresh = pa.concat_tables([segments.empty(table), *pieces])
        return pa.concat_tables([*found, fresh if wanted is None else fresh.filter(wanted)])

    def lost(self, host: str) -> int:
        """Return how many batches the agents of *host* gave up before the service had them, in the last days.

        Raises:
            UnavailableError: The database does not answer.
        """
        with self._database.read() as connection:
            return ledger.lost(connection, host)

    def expire(self, before: int) -> int:
        """Delete what was received before *before* (ns); return the number of files.

        What describes a job stays as long as anything measured of it does.
        """
        with self._database.write() as connection:
            gone = catalogue.expire(connection, before)
            ledger.forget(connection, min(before, self._clock() - ledger.REMEMBERED_NS))
        self._sealer.discard(gone)
        # Left by a process killed between writing a file and entering it. Only old ones: a new one may yet be entered.
        stray = [path.name for path in self._segments.iterdir() if path.stat().st_mtime_ns < before]
        if stray:
            with self._database.read() as connection:
                self._sealer.discard(catalogue.unknown(connection, stray))
        return len(gone)

    def sealed_until(self) -> int:
        """Return the time (ns) before which everything that was accepted here is in segments."""
        now = self._clock()
        with self._unsealed.view:
            first = [b.first_received_at for b in self._unsealed.all() if b.first_received_at is not None]
        return min([now, *first])

    def adopt(self) -> None:
        """Seal the logs of processes that died, where several share one data directory.

        Raises:
            OSError: The disk does not take it; the logs stay for the next try.
            UnavailableError: The same, of the database.
        """
        with self._upkeep_lock:
            self._sealer.recover(self._logs)

    def room(self) -> Room:
        """Return how much waits to be sealed, and how much room there is; cheap, and without the database."""
        free = shutil.disk_usage(self._segments).free
        return Room(self._unsealed.nbytes, UNSEALED_BYTES, free)

    def seal(self) -> None:
        """Turn everything accepted so far into segments.

        Raises:
            OSError: The disk does not take it; it stays readable, and safe in its log.
            UnavailableError: The same, of the database.
        """
        with self._upkeep_lock:
            with self._commit_lock:
                self._unsealed.rotate()
            for buffer in self._unsealed.waiting():
                self._sealer.seal(buffer)

    def close(self) -> None:
        """Seal what can be sealed and stop; what cannot, stays in its log for the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.seal()
        except (OSError, StoreError) as error:
            _log.warning("telemetry stays in its log", error=str(error))
        for buffer in self._unsealed.all():
            buffer.log.close()

    def _check_room(self) -> None:
        if self._closing.is_set():
            raise UnavailableError("the store is closed")
        if self._unsealed.nbytes > UNSEALED_BYTES or len(self._unsealed.waiting()) > UNSEALED_LOGS:
            raise UnavailableError("the disk or the database is behind: too much telemetry waits to be sealed")

    def _commit(self, group: list[_Waiting]) -> None:
        fresh: list[_Waiting] = []
        appending = False
        try:
            live = self._unsealed.open()
            self._start_upkeep()
            with self._database.write(durable=False) as connection:  # the log is; a replay enters what SQLite forgot
                admitted = ledger.admit(self._database, connection, [each.ask for each in group], live.log.name)
                entering = {id(ask) for ask in admitted}
                fresh = [each for each in group if id(each.ask) in entering]
                if fresh:
                    appending = True
                    live.log.append([each.entry for each in fresh])
        except Exception as error:  # noqa: BLE001 - every caller of the group must hear of it
            if appending:
                # Whether the disk or the database has the group is unknown now; the sealer finds out from both.
                self._unsealed.rotate(doubtful=True)
                self._wake.set()
            known = isinstance(error, (OSError, StoreError))
            for each in group:
                each.error = UnavailableError(f"telemetry not taken: {error}") if known else error
        else:
            for each in fresh:
                live.add(each.tables, each.entry.received_at)
            if live.nbytes >= SEAL_BYTES:
                self._wake.set()
        for each in group:
            each.done = True

    def _start_upkeep(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._upkeep, name="offbeat-seal", daemon=True)
            self._thread.start()

    def _upkeep(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
            try:
                if self._due():
                    self.seal()
                with self._upkeep_lock:
                    while not self._closing.is_set() and self._sealer.merge():
                        pass
            except Exception:  # noqa: BLE001 - nothing is lost, logs stay; the next tick must come to try again
                _seal_failures.inc()
                _log.exception("segments could not be written")
                self._closing.wait(_RETRY_SECONDS)

    def _due(self) -> bool:
        live = self._unsealed.live
        if live is None:
            return bool(self._unsealed.waiting())
        return live.nbytes >= SEAL_BYTES or live.log.age >= SEAL_SECONDS or bool(self._unsealed.waiting())


def _check_names(host: str, tables: Mapping[str, pa.Table]) -> None:
    names = {host}
    for data in tables.values():
        names.update(name for name in pc.unique(data.column("job")).to_pylist() if name is not None)
    for name in names:
        if len(name) > NAME_LENGTH or "\0" in name:
            raise RecordError(f"name {name[:40]!r}… is longer than {NAME_LENGTH} characters or holds a null character")
