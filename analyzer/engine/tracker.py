"""Persistence: suspicions that hold become findings, findings whose suspicion stays away end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offbeat.model import Culprits, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.engine.suspicion import Suspicion


NOBODY = Culprits()
RECONSIDER_NS = 3_000_000_000
"""How long a suspicion must name others before an open finding is changed; without it, a fault's end, when old and
new figures mix, names innocents."""


@dataclass(slots=True)
class _Case:
    suspicion: Suspicion
    since: int
    last: int
    finding: Finding | None = None
    told: Finding | None = None
    differs_since: int | None = None


class Tracker:
    """The findings of one attempt of one job."""

    def __init__(self, job: str, attempt: int) -> None:
        self.job, self.attempt = job, attempt
        self._cases: dict[str, _Case] = {}
        self._count: dict[str, int] = {}

    @property
    def suspects(self) -> bool:
        """Whether anything is held against this job now, finding or not."""
        return bool(self._cases)

    def has(self, key: str) -> bool:
        """Return whether a finding with this key is open."""
        return key in self._cases and self._cases[key].finding is not None

    def open(self) -> list[Finding]:
        """Return the findings that have not ended."""
        return [c.finding for c in self._cases.values() if c.finding is not None]

    def update(self, suspicions: Sequence[Suspicion], now: int) -> list[Finding]:
        """Take what the rules say at *now* (Unix ns); return the findings that opened, changed or ended."""
        for suspicion in suspicions:
            case = self._cases.setdefault(suspicion.key, _Case(suspicion, now, now))
            case.suspicion, case.last = suspicion, now
        changed = []
        for key, case in list(self._cases.items()):
            absent = now - case.last
            if case.finding is None:
                if absent > 0:
                    # Suspicion must be unbroken until it becomes a finding: one late iteration is jitter.
                    del self._cases[key]
                    continue
                if now - case.since >= case.suspicion.hold_ns:
                    case.finding = self._open(case, now)
            elif absent > case.suspicion.clear_ns and not case.suspicion.sticky:
                changed.append(case.finding.ended(case.last))
                del self._cases[key]
                continue
            else:
                self._reconsider(case, now)
            if case.finding is not None and _differs(case.finding, case.told):
                case.told = case.finding
                changed.append(case.finding)
        return changed

    def end_all(self, now: int) -> list[Finding]:
        """End every finding, the job's attempt being over."""
        ended = [f.ended(now) for f in self.open()]
        self._cases.clear()
        return ended

    @staticmethod
    def _reconsider(case: _Case, now: int) -> None:
        """Bring an open finding up to date, its culprits only when others are named for a while."""
        assert case.finding is not None
        if case.last < now:
            return
        if _who(case.finding) == _who(case.suspicion):
            case.differs_since = None
        else:
            case.differs_since = case.differs_since or now
            # Who was named with evidence is not taken back because the evidence has passed.
            waits = case.suspicion.culprits == NOBODY or now - case.differs_since < RECONSIDER_NS
            if case.finding.culprits != NOBODY and waits:
                return
        case.finding = _refresh(case.finding, case.suspicion)

    def _open(self, case: _Case, now: int) -> Finding:
        s = case.suspicion
        number = self._count[s.key] = self._count.get(s.key, 0) + 1
        digest = hashlib.sha256(f"{s.key}#{number}".encode()).hexdigest()[:12]
        return Finding(
            id=digest, fault=s.fault, severity=s.severity, summary=s.summary, advice=s.advice, culprits=s.culprits,
            victims=s.victims, evidence=s.evidence, slowdown=s.slowdown, confidence=s.confidence,
            started_at=s.started_at if s.started_at is not None else case.since, detected_at=now,
            job=self.job, attempt=self.attempt,
        )  # fmt: skip


def _refresh(finding: Finding, s: Suspicion) -> Finding:
    return replace(
        finding, fault=s.fault, severity=s.severity, summary=s.summary, advice=s.advice, culprits=s.culprits,
        victims=s.victims, evidence=s.evidence, slowdown=s.slowdown, confidence=s.confidence,
    )  # fmt: skip


def _who(said: Finding | Suspicion) -> tuple[object, ...]:
    """Return what must not flicker: the class and who is blamed; links only where nothing else is named."""
    culprits = said.culprits
    links = () if culprits.ranks or culprits.hosts else culprits.links
    return said.fault, said.severity, culprits.ranks, culprits.hosts, links


def _differs(finding: Finding, told: Finding | None) -> bool:
    """Tell whether people need to hear of *finding* again: figures in the evidence move all the time."""
    return told is None or _who(finding) != _who(told)
