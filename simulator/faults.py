"""Faults and what they do to ranks, edges and hosts, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from offbeat.model import FaultClass

if TYPE_CHECKING:
    from offbeat.simulator.spec import JobSpec

    Floats = np.ndarray[Any, np.dtype[np.float64]]

COMPUTING = {
    FaultClass.SLOW_COMPUTE, FaultClass.SLOW_MIXED, FaultClass.DEVICE_THERMAL, FaultClass.DEVICE_POWER,
}  # fmt: skip
STOPPING = {FaultClass.HANG_NOT_ENTERED, FaultClass.LOST_RANK, FaultClass.LOST_HOST, FaultClass.WORKLOAD_ERROR}
ENDING = STOPPING | {FaultClass.HANG_IN_TRANSPORT, FaultClass.HANG_MISMATCH}
"""Faults no step is finished after."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where it is, how strong (times of the healthy length), and when."""

    fault: FaultClass
    ranks: tuple[int, ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    leaf: int | None = None
    times: float = 1.5
    start: int = 30
    """First step that has it."""
    end: int | None = None
    """First step that is free of it again."""
    duty: float = 1.0
    """Share of steps it shows in."""
    creeps: bool = False
    """Whether it grows to `times` over the rest of the job."""

    def strength(self, step: int, steps: int, random: np.random.Generator) -> float:
        """Return how many times as long what it touches takes in *step*."""
        if step < self.start or (self.end is not None and step >= self.end):
            return 1.0
        if self.creeps:
            return 1 + (self.times - 1) * (step - self.start + 1) / max((self.end or steps) - self.start, 1)
        return self.times if self.duty >= 1 or random.random() < self.duty else 1.0


@dataclass(slots=True)
class Effects:
    """What all faults together do in one step; factors per rank, and per edge where it has one of its own."""

    compute: Floats
    send: Floats
    receive: Floats
    links: dict[tuple[int, int], float] = field(default_factory=dict)
    leaf: dict[int, float] = field(default_factory=dict)
    input_ms: Floats | None = None
    stops: frozenset[int] = frozenset()
    broken: frozenset[tuple[int, int]] = frozenset()
    deviates: frozenset[int] = frozenset()
    imbalance: float = 1.0

    @classmethod
    def none(cls, ranks: int) -> Self:
        """Return what happens where there is no fault."""
        return cls(np.ones(ranks), np.ones(ranks), np.ones(ranks))


def effects(spec: JobSpec, faults: tuple[Fault, ...], step: int, random: np.random.Generator) -> Effects:
    """Return what *faults* do in *step*."""
    out = Effects.none(spec.ranks)
    for fault in faults:
        _slow(spec, fault, fault.strength(step, spec.steps, random), random, out)
        if step == fault.start:
            _end(fault, out)
    return out


def _slow(spec: JobSpec, f: Fault, times: float, random: np.random.Generator, out: Effects) -> None:
    where = list(f.ranks)
    if f.fault in COMPUTING:
        out.compute[where] *= times
    if f.fault in {FaultClass.SLOW_SEND, FaultClass.SLOW_MIXED}:
        out.send[where] *= times
    elif f.fault is FaultClass.SLOW_RECEIVE:
        out.receive[where] *= times
    elif f.fault is FaultClass.SLOW_LINK:
        out.links.update(dict.fromkeys(f.links, times))
    elif f.fault is FaultClass.SLOW_FABRIC and f.leaf is not None:
        out.leaf[f.leaf] = times
    elif f.fault is FaultClass.SLOW_UNIFORM:
        out.compute *= times
    elif f.fault is FaultClass.WORKLOAD_STAGE_IMBALANCE:
        out.imbalance *= times
    elif f.fault is FaultClass.WORKLOAD_INPUT_STALL and times > 1:
        stalls = np.zeros(spec.ranks)
        chosen = where or random.choice(spec.ranks, max(spec.ranks // 16, 1), replace=False)
        stalls[chosen] = (times - 1) * spec.forward_ms * spec.microbatches
        out.input_ms = stalls if out.input_ms is None else out.input_ms + stalls


def _end(f: Fault, out: Effects) -> None:
    if f.fault in STOPPING:
        out.stops |= set(f.ranks)
    elif f.fault is FaultClass.HANG_IN_TRANSPORT:
        out.broken |= set(f.links)
    elif f.fault is FaultClass.HANG_MISMATCH:
        out.deviates |= set(f.ranks)
