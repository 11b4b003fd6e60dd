"""What a rule says at one moment, before persistence makes it a finding."""

from __future__ import annotations

from dataclasses import dataclass, field

from offbeat.model import Advice, Culprits, Evidence, FaultClass, Severity


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One fault as one rule sees it now.

    `key` names the cause: suspicions with equal keys are the same finding. A suspicion must hold for `hold_ns`
    before it becomes a finding, and be absent for `clear_ns` before that finding ends; `sticky` ones end only with
    their job's attempt.
    """

    key: str
    fault: FaultClass
    severity: Severity
    summary: str
    advice: Advice
    culprits: Culprits = field(default_factory=Culprits)
    victims: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    slowdown: float | None = None
    confidence: float = 1.0
    started_at: int | None = None
    hold_ns: int = 0
    clear_ns: int = 2_000_000_000
    sticky: bool = False


class Places:
    """Keys of parts of a network: what shares an edge with a part suspected a moment ago is the same fault still."""

    KEPT_NS = 10_000_000_000
    """Time after which a part that is suspected again is another fault."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[frozenset[tuple[int, int]], int]] = {}
        self._count = 0

    def key(self, edges: frozenset[tuple[int, int]], now: int) -> str:
        """Return the key of the part that *edges* pass, suspected at *now* (Unix ns)."""
        self._known = {k: v for k, v in self._known.items() if now - v[1] < self.KEPT_NS}
        shared = {k: len(edges & v[0]) for k, v in self._known.items() if edges & v[0]}
        if shared:
            key = max(shared, key=lambda k: shared[k])
        else:
            self._count += 1
            key = f"network:{self._count}"
        self._known[key] = (edges, now)
        return key
