"""corruption.replica: replicas that must be equal to the last bit are not.

Reads: digests of replicated state. Emits: corruption.replica, the minority being at fault.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from offbeat.analyzer.engine.rules.common import SECOND, listing
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.view import View

HOLD_NS = SECOND
"""How long digests must disagree: those of one epoch come in over some time, and the first two may be the odd ones."""


def judge(view: View) -> list[Suspicion]:
    """Return the ranks whose state differs from that of most of their replicas."""
    wrong: dict[int, list[str]] = {}
    undecided: list[str] = []
    epochs = []
    for (epoch, part, group), by_rank in view.job.digests.items():
        counted = Counter(by_rank.values())
        if len(counted) < 2:
            continue
        epochs.append(epoch)
        (digest, most), (_, second) = counted.most_common(2)
        place = f"{part} of group {group} in epoch {epoch}"
        if most <= second:
            undecided.append(f"{place}: {len(by_rank)} replicas, and no majority")
            continue
        for rank, own in by_rank.items():
            if own != digest:
                wrong.setdefault(rank, []).append(f"{place}: {own[:16]}, {most} others have {digest[:16]}")
    if not epochs:
        return []
    ranks = tuple(sorted(wrong))
    if ranks:
        summary = f"the state of {listing(ranks)} is not that of its replicas since epoch {min(epochs)}"
        why = "its memory or its arithmetic is at fault; go back to an epoch before that one"
    else:
        summary = f"replicas are not equal since epoch {min(epochs)}; which one is right cannot be told from two"
        why = "restore an epoch in which all were equal"
    told = [f"rank {r}: {places[0]}" for r, places in sorted(wrong.items())] + undecided
    return [
        Suspicion(
            key="corruption",
            fault=FaultClass.CORRUPTION_REPLICA,
            severity=Severity.CRITICAL,
            summary=summary,
            advice=Advice(Action.ISOLATE_HOST if ranks else Action.RESTART_JOB, why),
            culprits=Culprits(ranks=ranks),
            evidence=tuple(Evidence("digest", text, {}) for text in told[:8]),
            confidence=0.95 if ranks else 0.5,
            hold_ns=HOLD_NS,
            sticky=True,
        )
    ]
