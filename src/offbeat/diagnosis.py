"""The document that `offbeat diagnose` gives: schema `offbeat.diagnosis/1`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from offbeat.model import Severity

if TYPE_CHECKING:
    from offbeat.model import Abstention, Finding

SCHEMA = "offbeat.diagnosis/1"
HEALTHY, NOT_HEALTHY, COULD_NOT_TELL = 0, 1, 3


@dataclass(slots=True)
class Observed:
    """What was looked at. `since` and `until` are Unix ns, 0 for unknown; iteration times are seconds."""

    ranks: int = 0
    hosts: int = 0
    communicators: int = 0
    records: int = 0
    since: int = 0
    until: int = 0
    iterations: int | None = None
    iteration_median: float | None = None
    iteration_p99: float | None = None

    def span(self, since: int, until: int) -> None:
        """Widen the time looked at."""
        if since > 0:
            self.since = min(self.since, since) if self.since else since
        self.until = max(self.until, until)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ranks": self.ranks,
            "hosts": self.hosts,
            "communicators": self.communicators,
            "records": self.records,
            "from": self.since,
            "to": self.until,
            "iterations": self.iterations,
            "iteration_seconds": {"median": self.iteration_median, "p99": self.iteration_p99},
        }


@dataclass(slots=True)
class Diagnosis:
    """Everything that was read and concluded."""

    source: list[str] = field(default_factory=list)
    job: str | None = None
    observed: Observed = field(default_factory=Observed)
    findings: list[Finding] = field(default_factory=list)
    abstained: list[Abstention] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether no finding has severity warning or critical."""
        return all(finding.severity is Severity.INFO for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 not healthy, 3 could not tell."""
        if not self.healthy:
            return NOT_HEALTHY
        return COULD_NOT_TELL if self.abstained or not self.source else HEALTHY

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "job": self.job,
            "observed": self.observed.to_dict(),
            "healthy": self.healthy,
            "findings": [finding.to_dict() for finding in self.findings],
            "abstained": [asdict(item) for item in self.abstained],
            "warnings": self.warnings,
        }
