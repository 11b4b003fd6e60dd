"""hang.mismatch: members entered the same place of the sequence with different operations.

Reads: open and finished operations. Emits: hang.mismatch.

It needs no bound: operations that differ can never complete as meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine.rules.common import SECOND, listing
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.comm import CommWindow, Signature
    from offbeat.analyzer.engine.view import View


def judge(view: View) -> list[Suspicion]:
    """Return the first disagreement of each communicator whose newest operations disagree."""
    return [s for w in view.standing if (s := _first(view, w))]


def _first(view: View, window: CommWindow) -> Suspicion | None:
    known = view.job.signatures.known
    # Only places not finished by all can be the fault that stands now.
    rows = np.nonzero((window.seq >= 0) & ((window.leave == 0) & (window.enter > 0)).any(axis=1))[0]
    for row in sorted(rows, key=lambda r: window.seq[r]):
        groups: dict[int, list[int]] = {}
        for column, code in enumerate(window.signature[row]):
            if code >= 0:
                groups.setdefault(_same(known, groups, int(code)), []).append(window.members[column])
        if len(groups) > 1:
            return _suspicion(view, window, int(row), groups)
    return None


def _same(known: list[Signature], groups: dict[int, list[int]], code: int) -> int:
    return next((c for c in groups if known[c].agrees(known[code])), code)


def _suspicion(view: View, window: CommWindow, row: int, groups: dict[int, list[int]]) -> Suspicion | None:
    known, seq = view.job.signatures.known, int(window.seq[row])
    expected = _expected(view, window, seq)
    sizes = sorted(((len(m), c) for c, m in groups.items()), reverse=True)
    usual = sizes[0][1]
    if sizes[0][0] == sizes[1][0]:
        agreeing = [c for c in groups if expected is not None and known[c].agrees(known[expected])]
        if len(agreeing) != 1:
            return None
        usual = agreeing[0]
    culprits = sorted(r for c, members in groups.items() if c != usual for r in members)
    others = sorted(groups[usual])
    theirs, mine = known[usual], known[next(c for c in groups if c != usual)]
    return Suspicion(
        key=f"mismatch:{window.comm}",
        fault=FaultClass.HANG_MISMATCH,
        severity=Severity.CRITICAL,
        summary=(
            f"{listing(culprits)} entered {mine.op} of {mine.nbytes} bytes as operation {seq} of group {window.name}, "
            f"where {listing(others)} entered {theirs.op} of {theirs.nbytes} bytes"
        ),
        advice=Advice(Action.FIX_WORKLOAD, "that rank took another path through the program than the others"),
        culprits=Culprits(ranks=tuple(culprits)),
        victims=tuple(others),
        evidence=(
            Evidence(
                "signature",
                f"operation {seq}: "
                + "; ".join(f"{listing(m)}: {known[c].op}, {known[c].nbytes} B" for c, m in groups.items()),
                {"comm": window.comm, "seq": seq},
            ),
        ),
        confidence=0.95,
        started_at=int(window.enter[row].max()),
        clear_ns=SECOND,
        # What failed by it is over, but it stays true of this attempt.
        sticky=True,
    )


def _expected(view: View, window: CommWindow, seq: int) -> int | None:
    """Return the signature that the learned beat puts at *seq*."""
    beat = view.job.rhythm.known.get(window.comm)
    return beat.pattern[beat.phase(seq)] if beat and beat.pattern and not beat.coarse else None
