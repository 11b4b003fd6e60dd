"""Whether a finding is right: compares what the service said with what was really done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class Expected:
    """What a right finding says: one of *classes*, and nobody but these.

    Args:
        classes: The fault classes that are right.
        ranks: The ranks that may be named.
        hosts: The hosts that may be named.
        all_ranks: Whether all of *ranks* must be named; else somebody or something must be.
        sides: Ends of a named link, one of which must be one of *ranks* or on one of *hosts*.
    """

    classes: frozenset[str]
    ranks: frozenset[int]
    hosts: frozenset[str]
    all_ranks: bool
    sides: tuple[str, ...] = ("src", "dst")

    @classmethod
    def rank(cls, classes: Collection[str], rank: int, host: str) -> Self:
        """Expect *rank*, which runs on *host*, to be named."""
        return cls(frozenset(classes), frozenset({rank}), frozenset({host}), all_ranks=True)

    @classmethod
    def sending_host(cls, classes: Collection[str], host: str, ranks: Collection[int]) -> Self:
        """Expect the sending side of *host* to be named: by itself, its *ranks*, or links on which it sends."""
        return cls(frozenset(classes), frozenset(ranks), frozenset({host}), all_ranks=False, sides=("src",))


@dataclass(slots=True)
class Sighting:
    """An incident as the public API showed it, from first to last.

    Args:
        first_seen: When it was first shown, Unix seconds.
        incident: Its newest JSON.
        findings: Every different finding that it carried; a culprit named once and taken back was named.
    """

    first_seen: float
    incident: dict[str, Any]
    findings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the incident has ended."""
        return self.incident["state"] in {"resolved", "recovered"} or self.incident["ended_at"] is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the sightings of one stretch say: the right incident, if any, and those that name somebody else."""

    right: Sighting | None
    wrong: tuple[Sighting, ...]


def judge(expected: Expected | None, sightings: Iterable[Sighting]) -> Verdict:
    """Judge what was seen while *expected* was true; None: while nothing was wrong.

    Findings of severity info accuse nobody; one that names a right one as its cause is a symptom, not an accusation.
    """
    serious = [sighting for sighting in sightings if any(f["severity"] != "info" for f in sighting.findings)]
    right = [s for s in serious if expected is not None and all(is_right(expected, f) for f in s.findings)]
    causes = {f["id"] for s in right for f in s.findings}
    wrong = [s for s in serious if s not in right and any(f["caused_by"] not in causes for f in s.findings)]
    return Verdict(min(right, key=lambda s: s.first_seen, default=None), tuple(wrong))


def is_right(expected: Expected, finding: dict[str, Any]) -> bool:
    """Return whether *finding* (`offbeat.diagnosis/1`) has a right class and names the culprit and nobody else."""
    culprits = finding["culprits"]
    ranks, hosts, links, devices = (culprits[kind] for kind in ("ranks", "hosts", "links", "devices"))
    return (
        finding["class"] in expected.classes
        and (set(ranks) == expected.ranks if expected.all_ranks else bool(ranks or hosts or links or devices))
        and expected.ranks.issuperset(ranks)
        and expected.hosts.issuperset(hosts)
        and expected.hosts.issuperset(device["host"] for device in devices)
        and all(_has_end(link, expected) for link in links)
    )


def _has_end(link: dict[str, Any], expected: Expected) -> bool:
    return any(
        link[f"{side}_rank"] in expected.ranks or link[f"{side}_host"] in expected.hosts for side in expected.sides
    )
