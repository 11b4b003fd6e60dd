"""The analyzer of a running service: bus in, incidents out.

When it starts, it reads the newest telemetry back from the store, so that a service that was restarted knows the jobs
it watches; and it looks after the incidents that were open: found again, they go on, else they end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from offbeat import metrics
from offbeat.analyzer.bounds import BoundsTeller
from offbeat.analyzer.engine.engine import Engine
from offbeat.model import IncidentState
from offbeat.records import TABLES
from offbeat.store import Beat, FencedError, JobRank, JobRow, LatenessWindow, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.model import Finding
    from offbeat.store import Bus, Ledgers, Subscription

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 0.25
"""How often the rules look; longer delays every finding by as much."""
JOB_SECONDS = 1.0
"""How often a job's row is written; more often only wears the database."""
READ_BACK_NS = 60_000_000_000
"""How much telemetry is read back at the start; less, and a job's members are unknown until they are told again."""
CATCH_UP_SECONDS = 20.0
"""How long what waited is taken before the rules look; a stream that is never caught up must not silence them."""
ORPHAN_NS = 20_000_000_000
"""How long a job must run again before an incident of an earlier life of the service, not found again, ends."""


_looked_at = metrics.gauge("offbeat_analyzer_looked_at_seconds")
_delay = metrics.gauge("offbeat_analyzer_delay_seconds")
_failures = metrics.counter("offbeat_analyzer_failures_total")
_untold = metrics.gauge("offbeat_analyzer_untold_findings")


class Analyzer:
    """A thread that feeds accepted batches to the engine and writes what it finds."""

    def __init__(
        self,
        store: Ledgers,
        bus: Bus,
        *,
        subscribe: Callable[[], Subscription] | None = None,
        mine: Callable[[str], bool] = lambda _job: True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare to watch.

        Args:
            store: Where findings go.
            bus: Where changes are told.
            subscribe: Gives the telemetry to look at; None takes all that is published from now on.
            mine: Whether a job is this analyzer's: what is read back at the start, is read of these.
            clock: Unix time, ns.
        """
        self._store, self._bus, self._clock, self._mine = store, bus, clock, mine
        self._subscribe = subscribe or (lambda: bus.subscribe("telemetry", size=4096))
        self._engine = Engine()
        self._bounds = BoundsTeller(store.orders)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_jobs: dict[tuple[str, int], JobRow] = {}
        self._untold: deque[Finding] = deque()
        self._inherited: dict[tuple[str, int, str], Finding] = {}
        self._running_since: dict[str, int] = {}
        self._renamed: dict[tuple[str, int, str], str] = {}
        self.fenced = False
        """Whether the right to write was lost: another analyzer has these jobs now."""
        self.looked_at = 0
        """When the rules last ran, Unix ns: what readiness is told by."""

    def start(self) -> None:
        """Begin to listen; batches published from now on are seen."""
        self._subscription = self._subscribe()
        self._read_back()
        self._thread = threading.Thread(target=self._run, name="analyzer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being looked at."""
        self._stop.set()
        self._subscription.close()
        if self._thread:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        self._catch_up()
        due_look = due_jobs = time.monotonic()
        while not self._stop.is_set():
            # One bad batch or one failing rule must not end diagnosis for every job.
            try:
                message = self._subscription.get(timeout=max(0.0, due_look - time.monotonic()))
                if message is not None:
                    self._ingest(message)
                if time.monotonic() >= due_look:
                    self._look()
                    due_look = time.monotonic() + INTERVAL_SECONDS
                    if time.monotonic() >= due_jobs:
                        self._write_jobs()
                        due_jobs = time.monotonic() + JOB_SECONDS
            except FencedError:
                log.warning("analyzer: these jobs are another's now")
                self.fenced = True
                return
            except Exception:
                _failures.inc()
                log.exception("analyzer: one step failed")
                due_look = time.monotonic() + INTERVAL_SECONDS

    def _catch_up(self) -> None:
        """Take what waits already: rules that saw half of it would take what is still to come for missing."""
        until = time.monotonic() + CATCH_UP_SECONDS
        while not self._stop.is_set() and time.monotonic() < until:
            try:
                message = self._subscription.get(0)
                if message is None:
                    return
                self._ingest(message)
            except Exception:
                _failures.inc()
                log.exception("analyzer: one step failed")

    def _read_back(self) -> None:
        now = self._clock()
        tables = {name: self._store.telemetry.read(name, since=now - READ_BACK_NS) for name in TABLES}
        # What describes a job is kept as long as the job's records are: those of jobs long over stay where they are.
        jobs = [chunk for name in ("collectives", "vectors") for chunk in tables[name].column("job").chunks]
        living = pc.unique(pa.chunked_array(jobs, pa.string()))
        living = living.filter(
            pa.array([job is not None and self._mine(job) for job in living.to_pylist()], pa.bool_())
        )
        for name, table in tables.items():
            if name != "heartbeats":
                tables[name] = table.filter(pc.or_(pc.is_in(table.column("job"), living), pc.is_null(table["job"])))
        self._engine.ingest({name: table for name, table in tables.items() if table.num_rows}, now)
        living = [s for s in IncidentState if s not in {IncidentState.RESOLVED, IncidentState.RECOVERED}]
        for incident in self._store.incidents.list(state=living, limit=1000).items:
            if self._mine(incident.job):
                self._inherited[incident.job, incident.attempt, incident.finding.id] = incident.finding

    def _ingest(self, message: object) -> None:
        batch = cast("dict[str, Any]", message)
        received_at = batch.get("received_at") or self._clock()
        self._engine.ingest(batch["tables"], received_at)
        _delay.set((self._clock() - received_at) / 1e9)

    def _look(self) -> None:
        now = self._clock()
        for finding in self._engine.evaluate(now):
            self._untold.append(self._recognized(finding))
        for key in [k for k in self._inherited if self._orphaned(k, now)]:
            self._untold.append(self._inherited.pop(key).ended(now))
        self._tell(now)
        _untold.set(len(self._untold))
        for stretch in self._engine.stretches():
            window = LatenessWindow(
                at=stretch.at,
                span_ns=stretch.span_ns,
                ranks=np.asarray(stretch.ranks, np.int32),
                lateness_ns=stretch.lateness,
                own_ns=stretch.own,
            )
            beat = Beat(stretch.at, stretch.iteration_ns)
            self._store.jobs.add_lateness(stretch.job, stretch.attempt, window)
            self._store.jobs.add_beats(stretch.job, stretch.attempt, [beat])
            self._bus.publish("beats", {"job": stretch.job, "at": beat.at, "iteration_ns": beat.iteration_ns})
        self._bounds.tell(self._engine, now)
        self.looked_at = now
        _looked_at.set(now / 1e9)

    def _recognized(self, finding: Finding) -> Finding:
        """Return *finding* under the name it had before the service, or its worker, began anew.

        Names count the times that a fault came back, and a new engine counts from one again.
        """
        key = finding.job, finding.attempt, finding.id
        if self._inherited.pop(key, None) is None and key not in self._renamed:
            for known, before in self._inherited.items():
                same = (before.fault, before.culprits) == (finding.fault, finding.culprits)
                if known[:2] == key[:2] and same:
                    self._renamed[key] = before.id
                    del self._inherited[known]
                    break
        return replace(finding, id=self._renamed.get(key, finding.id))

    def _tell(self, now: int) -> None:
        """Write the findings nobody was told of yet; what the store cannot take now is tried again at the next look."""
        while self._untold:
            finding = self._untold[0]
            try:
                incident = self._store.incidents.apply(finding, now)
            except UnavailableError as error:
                log.warning("incident not written yet", finding=finding.id, error=str(error))
                return
            self._untold.popleft()
            if incident is not None:
                log.info("incident", id=incident.id, state=str(incident.state), summary=finding.summary)
                self._bus.publish("incidents", incident)

    def _orphaned(self, key: tuple[str, int, str], now: int) -> bool:
        """Tell whether the job of an inherited incident has gone on without it for a while."""
        job, attempt, _ = key
        since = self._running_since.get(job)
        newer = any(j == job and a > attempt for j, a in self._last_jobs)
        return since is not None and (newer or now - since > ORPHAN_NS)

    def _write_jobs(self) -> None:
        now = self._clock()
        for view in self._engine.jobs(now):
            if view.state == "running":
                self._running_since.setdefault(view.job, now)
            else:
                self._running_since.pop(view.job, None)
            row = JobRow(
                id=view.job,
                attempt=view.attempt,
                name=view.name,
                world=view.world,
                simulated=view.simulated,
                state=view.state,
                first_seen=view.first_seen,
                last_seen=view.last_seen,
                iteration_ns=view.iteration_ns,
                hosts=tuple(sorted({host for _, host, _ in view.ranks if host})),
                ranks=tuple(JobRank(rank, host, pid if pid >= 0 else None) for rank, host, pid in view.ranks),
            )
            key = (row.id, row.attempt)
            if self._last_jobs.get(key) != row:
                self._last_jobs[key] = row
                self._store.jobs.upsert(row)
                self._bus.publish("jobs", row)
