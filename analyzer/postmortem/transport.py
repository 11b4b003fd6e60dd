"""Operations that all members entered and none finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.postmortem import wording
from offbeat.analyzer.postmortem.signatures import describe
from offbeat.model import Action, Advice, Evidence, FaultClass, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from offbeat.analyzer.postmortem.graph import WaitGraph
    from offbeat.analyzer.postmortem.waits import Wait
    from offbeat.analyzer.readers.dumps import Dump

LEAST_NS = 3_000_000_000
"""An operation that everybody entered is overdue after this; less, and every snapshot of a running job is a hang."""
TIMES_P99 = 10
"""… and after so many times what 99 % of the dumped operations took."""
AFTER_TIMEOUT_NS = 600_000_000_000
"""A file younger than the operation's timeout and this was written by the job, not copied: its age can be believed."""


def overdue(wait: Wait, dumps: Mapping[int, Dump], usual: float) -> bool | None:
    """Tell whether *wait*, which all members entered, took too long.

    Args:
        wait: The operation.
        dumps: All dumps, by rank.
        usual: What `usual` says of them.

    Returns:
        True if it had, False if it was just entered, None where neither the dumps' times nor their files' tell.
    """
    entered = [e.created for e in wait.waiting.values() if e.created is not None]
    if not entered:
        return None
    last = max(entered)
    bound = max(LEAST_NS, TIMES_P99 * usual)
    if max(dump.newest for dump in dumps.values()) - last > bound:
        return True
    ages = [dumps[rank].written - last for rank in wait.waiting if dumps[rank].written]
    timeouts = [e.timeout_ms for e in wait.waiting.values() if e.timeout_ms]
    if not ages or min(ages) < 0:
        return None
    if max(ages) < bound:
        return False
    believed = AFTER_TIMEOUT_NS + max(timeouts, default=0) * 1_000_000
    return True if bound < min(ages) and max(ages) < believed else None


def usual(dumps: Iterable[Dump]) -> float:
    """Return the time in which 99 % of the newest finished operations ended, ns; 0 where none tells."""
    took = [
        e.finished - e.created
        for dump in dumps
        for e in dump.entries[-64:]
        if e.finished is not None and e.created is not None
    ]
    return float(np.percentile(took, 99)) if took else 0.0


SHOWN = 4
"""Operations told as evidence; the rest only repeats them."""


def finding(waits: Sequence[Wait], graph: WaitGraph) -> Finding:
    """Return the finding for operations that all members entered long ago and none finished."""
    first = min(waits, key=lambda w: w.since or 0)
    return Finding(
        id=f"hang.in_transport-{first.comm.name}-{first.seq}",
        fault=FaultClass.HANG_IN_TRANSPORT,
        severity=Severity.CRITICAL,
        summary=f"All of {wording.ranks(first.waiting)} entered {name(first)}, and none finished it.",
        advice=Advice(Action.INSPECT, "look at the network and the GPU links between these ranks"),
        victims=tuple(sorted({r for w in graph.backwards(waits) for r in w.waiting})),
        evidence=tuple(_evidence(wait) for wait in waits[:SHOWN]),
        confidence=0.6,
        started_at=first.since,
    )


def name(wait: Wait) -> str:
    """Return what a person calls the operation."""
    call = wait.entry.native if wait.p2p else f"{wait.entry.op} {wait.seq}"
    return f"{call} of {wait.comm.label}"


def _evidence(wait: Wait) -> Evidence:
    last = max((e.created for e in wait.waiting.values() if e.created is not None), default=None)
    return Evidence(
        "wait.in_transport",
        f"{name(wait)} ({describe(wait.entry)}): all of {wording.ranks(wait.waiting)} entered, "
        f"the last at {wording.clock(last)}",
        {"communicator": wait.comm.label, "seq": wait.seq, "members": list(wait.comm.members)},
    )
