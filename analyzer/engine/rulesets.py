"""The rules in order: what Offbeat does, on one page.

Rules of an earlier tier mute the later ones: while a job stands still or falls apart, nothing is said about speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.engine.rules import (
    compute,
    corruption,
    hang,
    lost,
    mismatch,
    network,
    paths,
    telemetry,
    uniform,
    workload,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.analyzer.engine.suspicion import Suspicion
    from offbeat.analyzer.engine.view import View

    Rule = Callable[[View], list[Suspicion]]

ALWAYS: tuple[Rule, ...] = (telemetry.judge, corruption.judge)
STANDSTILL: tuple[Rule, ...] = (mismatch.judge, lost.judge, hang.judge)
"""The first that says anything has the word: a disagreement kills bystanders, a death makes the others hang."""
SLOWNESS: tuple[Rule, ...] = (network.judge, compute.judge)
"""Looked for side by side; what they say of one place is one fault (`rules.mixed`)."""
NETWORK: tuple[Rule, ...] = (paths.judge,)
"""Where no connection told where the network is slow."""
OTHERWISE: tuple[Rule, ...] = (uniform.judge,)
"""When a job is slower and no part of it stands out."""
WORKLOAD: tuple[Rule, ...] = (workload.judge,)
"""What the job does to itself; information, and never a reason to learn nothing."""
