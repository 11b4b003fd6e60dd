"""lost.rank and workload.error: processes of the job ended that should not have.

Reads: process exits. Emits: lost.rank, workload.error.

When one rank dies the others fail with errors of their own a moment later, each naming its neighbour. The root is
a rank killed by a signal, else the first whose own error is not about communication.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from offbeat.analyzer.engine.rules.common import SECOND, listing
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.facts import Exit
    from offbeat.analyzer.engine.view import View

SETTLE_NS = int(0.7 * SECOND)
"""How long after the first exit the others' reports are awaited; without it a bystander's death comes first."""
TOGETHER_NS = 2 * SECOND
"""Deaths by signal within this are one act: a whole job ended from outside has no culprit."""
COMMUNICATION = re.compile(
    r"connection (reset|closed|refused|aborted)|closed by peer|broken pipe|timed? ?out|gloo|nccl|c10d|"
    r"socket|rendezvous|tcpstore|remote process|unreachable|preamble|distbackend|distnetwork|keyboardinterrupt",
    re.IGNORECASE,
)
"""Errors that a rank raises because another one failed."""


def judge(view: View) -> list[Suspicion]:
    """Return the rank whose end ended the job, if one did."""
    exits = [e for e in view.job.exits() if e.code != 0]
    left_early = _left_early(view)
    if not exits and not left_early:
        return []
    if view.now - min(e.received_at for e in (exits or left_early)) < SETTLE_NS:
        return []
    roots = _roots(view, exits) if exits else left_early
    return [_suspicion(view, roots)] if roots else []


def _left_early(view: View) -> list[Exit]:
    """Return ranks that ended well while the others wait for them in a collective they never entered."""
    done = [e for e in view.job.exits() if e.code == 0]
    if not done or view.job.over or view.now - max(e.received_at for e in done) < 5 * SECOND:
        return []
    waited_for = set()
    for window in view.job.windows.values():
        rows, _ = window.open_cells()
        if len(rows):
            oldest = int(window.seq[rows].min())
            waited_for |= {m for k, m in enumerate(window.members) if window.entered[k] < oldest}
    return [e for e in done if e.rank in waited_for]


def _roots(view: View, exits: list[Exit]) -> list[Exit]:
    killed = [e for e in exits if e.code is not None and e.code < 0]
    if not killed:
        return _failed(view, exits)
    first = min(e.at for e in killed)
    # torchrun and schedulers kill the rest of a job when one rank fails: then an error came before.
    own = [e for e in exits if e not in killed and e.at < first and not COMMUNICATION.search(e.message or "-")]
    if own:
        return [min(own, key=lambda e: e.at)]
    together = [e for e in killed if e.at - first < TOGETHER_NS]
    if len(together) > max(1, len(view.job.ranks) // 2):
        return []
    return [e for e in together if e.at - first < TOGETHER_NS / 4]


def _failed(view: View, exits: list[Exit]) -> list[Exit]:
    """Return the first that failed by itself, of ranks none of which was killed."""
    own = [e for e in exits if e.message and not COMMUNICATION.search(e.message)]
    silent = [e for e in exits if not e.message]
    # Without a word from anybody, a minority that went is a fault; all at once is the end of the job.
    candidates = own or (silent if len(silent) <= len(view.job.ranks) // 2 else [])
    return [min(candidates, key=lambda e: e.at)] if candidates else []


def _how(end: Exit) -> str:
    if end.code is None:
        return "ended, nobody knows how"
    if end.code < 0:
        try:
            return f"was killed by {signal.Signals(-end.code).name}"
        except ValueError:
            return f"was killed by signal {-end.code}"
    return f"exited with status {end.code}"


def _suspicion(view: View, roots: list[Exit]) -> Suspicion:
    ranks = sorted(e.rank for e in roots)
    first = min(roots, key=lambda e: e.at)
    host = view.job.host_of(first.rank)
    own_error = first.code is not None and first.code > 0 and bool(first.message)
    fault = FaultClass.WORKLOAD_ERROR if own_error else FaultClass.LOST_RANK
    after = [e for e in view.job.exits() if e.rank not in ranks and e.code != 0]
    evidence = [
        Evidence("exit", f"rank {e.rank} (pid {view.job.rank(e.rank).pid}) {_how(e)}", {"code": e.code}) for e in roots
    ]
    if first.message:
        evidence.append(Evidence("message", first.message, {"rank": first.rank}))
    evidence += [
        Evidence(
            "exit", f"rank {e.rank} {_how(e)} {(e.at - first.at) / 1e9:.2f} s later: {e.message or 'no message'}", {}
        )
        for e in sorted(after, key=lambda e: e.at)[:3]
    ]
    action = Action.FIX_WORKLOAD if own_error else Action.RESTART_JOB
    why = "the program failed by itself" if own_error else "its process is gone; the job cannot go on without it"
    return Suspicion(
        key="lost",
        fault=fault,
        severity=Severity.CRITICAL,
        summary=f"{listing(ranks)} on {host or 'an unknown host'} {_how(first)}"
        + (f": {first.message}" if own_error else ""),
        advice=Advice(action, why),
        culprits=Culprits(ranks=tuple(ranks)),
        victims=tuple(sorted(r for r in view.job.ranks if r not in ranks)),
        evidence=tuple(evidence),
        confidence=0.95,
        started_at=first.at,
        sticky=True,
    )
