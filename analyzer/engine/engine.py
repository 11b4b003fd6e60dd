"""The engine: tables in, findings out, in event time; it reads no clock and no file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.engine import cost
from offbeat.analyzer.engine.columns import by_job
from offbeat.analyzer.engine.facts import Hosts
from offbeat.analyzer.engine.job import JobState
from offbeat.analyzer.engine.overdue import by_host
from offbeat.analyzer.engine.progress import JobView, Progress, Stretch, describe
from offbeat.analyzer.engine.rules import device, mixed, workload
from offbeat.analyzer.engine.rulesets import ALWAYS, NETWORK, OTHERWISE, SLOWNESS, STANDSTILL, WORKLOAD
from offbeat.analyzer.engine.view import learn, look
from offbeat.model import Abstention, FaultClass, Severity
from offbeat.reducer import restore

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from offbeat.analyzer.engine.suspicion import Suspicion
    from offbeat.analyzer.engine.view import View
    from offbeat.model import Finding

SECOND = 1_000_000_000
STALE_NS = 2 * SECOND
"""Time without a finished iteration after which speed is not judged: old iterations say nothing of now."""
ORDER = ("jobs", "ranks", "memberships", "heartbeats")
"""Tables that others refer to come first, whatever their order in the batch."""


class Engine:
    """Diagnoses any number of jobs; not thread-safe."""

    def __init__(self) -> None:
        self.hosts = Hosts()
        self.abstained: dict[str, Abstention] = {}
        self._jobs: dict[tuple[str, int], JobState] = {}
        self._progress: dict[tuple[str, int], Progress] = {}
        self._stretches: list[Stretch] = []
        self._ended: list[Finding] = []

    def ingest(self, tables: Mapping[str, pa.Table], received_at: int) -> None:
        """Take one batch.

        Args:
            tables: Tables by name, fitted to the registry.
            received_at: When the service got it, Unix ns.
        """
        for name in sorted(tables, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
            table = tables[name]
            if name == "heartbeats":
                self.hosts.heartbeats(table, received_at)
                continue
            if name == "gauges":
                self.hosts.gauges(table)
            if name == "events":
                for row in table.to_pylist():
                    self.hosts.event(row)
            for of, part in restore(name, table):
                for job, attempt, rows in by_job(part):
                    if job:
                        self._job(job, attempt, received_at).take(of, rows, received_at)

    def _job(self, job: str, attempt: int, now: int) -> JobState:
        key = (job, attempt)
        if key not in self._jobs:
            for other in [k for k in self._jobs if k[0] == job and k[1] < attempt]:
                self._ended += self._jobs[other].tracker.end_all(now)
                del self._jobs[other], self._progress[other]
            self._jobs[key], self._progress[key] = JobState(job, attempt), Progress()
        return self._jobs[key]

    def evaluate(self, now: int) -> list[Finding]:
        """Return the findings that opened, changed or ended since the last call.

        Args:
            now: The time by which bounds and persistence are judged, Unix ns; never less than before.
        """
        changed, self._ended = self._ended, []
        for key, job in self._jobs.items():
            view = look(job, self.hosts, now)
            progress = self._progress[key]
            progress.advance(view)
            always, trouble = self._judge(view, progress)
            changed += job.tracker.update(always + device.join(view, device.judge(view), trouble), now)
            # An ill device that slows nobody down does not make the job's pace unfit to learn from.
            if not any(s.severity is not Severity.INFO for s in trouble) and self._fresh(progress, now):
                learn(view)
            if stretch := progress.stretch(view):
                self._stretches.append(stretch)
            job.forget(now)
        return changed

    def _judge(self, view: View, progress: Progress) -> tuple[list[Suspicion], list[Suspicion]]:
        """Return what is told in any case, and the trouble that the job is in."""
        job = view.job
        always = [s for rule in ALWAYS for s in rule(view)]
        for rule in STANDSTILL:
            if found := rule(view):
                job.since_step = job.intake.steps.frontier() + 2
                self._abstain(job, found)
                return always, found
        if job.over or not self._fresh(progress, view.now):
            return always, []
        found = [s for rule in SLOWNESS for s in rule(view)]
        if not any(s.fault in mixed.SIDES or s.fault is FaultClass.SLOW_FABRIC for s in found):
            found += [s for rule in NETWORK for s in rule(view)]
        found = mixed.join(view, found)
        own_doing = [s for rule in WORKLOAD for s in rule(view)]
        if not found and not workload.explain(view, own_doing):
            found = [s for rule in OTHERWISE for s in rule(view)]
        found, own_doing = cost.priced(view, found), cost.priced(view, own_doing)
        always += own_doing
        if found:
            job.history.doubt()
            job.delays.doubt()
        self._abstain(job, found)
        return always, found

    def _abstain(self, job: JobState, found: list[Suspicion]) -> None:
        self.abstained.pop(job.job, None)
        for s in found:
            if s.fault is FaultClass.HANG_IN_TRANSPORT and not (s.culprits.ranks or s.culprits.hosts):
                self.abstained[job.job] = Abstention(
                    "which rank or link the hang stopped at",
                    "everybody entered and no process, connection or host stands out; transfer records would tell",
                )
            elif s.fault is FaultClass.SLOW_UNIFORM:
                self.abstained[job.job] = Abstention(
                    "what makes the job slower",
                    "no rank's own time and no connection moved away from its past; device metrics might tell",
                )

    @staticmethod
    def _fresh(progress: Progress, now: int) -> bool:
        return now - progress.advanced_at < max(STALE_NS, 4 * (progress.iteration_ns or 0))

    def bounds(self) -> list[tuple[str, int, dict[str, dict[str, float]]]]:
        """Return (job, attempt, {host: {communicator: bound in seconds}}) as learned, unlearned ones left out."""
        return [(job.job, job.attempt, by_host(job.windows.values(), job.host_of)) for job in self._jobs.values()]

    def jobs(self, now: int) -> list[JobView]:
        """Return every job as it is at *now*."""
        return [describe(job, self._progress[key], now) for key, job in self._jobs.items()]

    def stretches(self) -> list[Stretch]:
        """Return the strides of iterations that were finished since the last call."""
        done, self._stretches = self._stretches, []
        return done

    def findings(self) -> list[Finding]:
        """Return the findings that have not ended."""
        return [f for job in self._jobs.values() for f in job.tracker.open()]
