"""telemetry.lost: an agent went silent while its ranks go on.

Reads: heartbeats, collectives. Emits: telemetry.lost, which never names a culprit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.engine.rules.common import SECOND
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Action, Advice, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.view import View

SILENT_NS = 10 * SECOND
"""An agent's restart takes a few seconds and must not alarm anybody."""


def judge(view: View) -> list[Suspicion]:
    """Return the hosts that are silent while others of the same job report progress."""
    if view.job.over:
        return []
    heard = {h: max(view.hosts.get(h).heard_at, view.job.first_seen) for h in view.job.hosts()}
    newest = max(heard.values(), default=0)
    if view.now - newest > SILENT_NS:
        return []
    silent = sorted(h for h, at in heard.items() if newest - at > SILENT_NS and not _all_exited(view, h))
    return [
        Suspicion(
            key=f"telemetry:{host}",
            fault=FaultClass.TELEMETRY_LOST,
            severity=Severity.INFO,
            summary=f"the agent of {host} is silent; whether its ranks are well cannot be told",
            advice=Advice(Action.INSPECT, "look at the agent and its way to the service, not at the job"),
            evidence=(Evidence("silence", f"last heard {(newest - heard[host]) / 1e9:.0f} s before the others", {}),),
            clear_ns=SECOND,
        )
        for host in silent
    ]


def _all_exited(view: View, host: str) -> bool:
    ranks = view.job.hosts().get(host, [])
    return bool(ranks) and all(view.job.ranks[r].exit for r in ranks)
