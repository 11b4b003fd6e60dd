"""How a diagnosis compares with the truth of a made case."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What was right; `innocents` are ranks named without guilt, `missed` culprits not named."""

    innocents: frozenset[int]
    missed: frozenset[int]
    class_right: bool
    abstained: bool

    @property
    def right(self):
        """Whether all was: who, nobody else, and what."""
        return not self.innocents and not self.missed and self.class_right


def compare(findings, abstained, *, culprits, classes, traceless=frozenset()):
    """Compare *findings* (info left out) with the truth: who, and of which classes findings may be."""
    loud = [f for f in findings if str(f.severity) != "info"]
    named = {rank for f in loud for rank in f.culprits.ranks}
    faults = {str(f.fault) for f in loud}
    return Verdict(
        innocents=frozenset(named - culprits - traceless),
        missed=frozenset(culprits - named),
        class_right=faults <= classes and bool(faults) == bool(classes),
        abstained=bool(abstained) and not named,
    )
