"""Scenarios drawn at random: jobs of many shapes, and faults as often as published systems met them.

Shares: of faults that stop a job, hangs 9.9 % and lost processes most (ByteRobust, SOSP'25, table 1); of slow ones,
computing 1.5 % of jobs against 39 to 59 % with congestion on a shared fabric (Greyhound, ATC'25, table 1), while on a
dedicated fabric it is the other way round (arXiv 2505.05713); so both mixes are offered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from offbeat.model import FaultClass
from offbeat.simulator.faults import Fault
from offbeat.simulator.spec import JobSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPES = ((64, 8, 1), (64, 4, 2), (64, 8, 2), (128, 8, 4), (64, 2, 4), (96, 4, 3), (32, 1, 1), (64, 8, 4))
"""Ranks, tensor and pipeline parallelism."""
EXCHANGE = (0.04, 0.3)
"""Time to exchange gradients as a share of computing."""
TIMES = (1.05, 1.1, 1.2, 1.5, 2.0)
STARVED = (4.0, 8.0)
"""The same for edges that carry activations alone: at twice the time, a step is longer by less than a thousandth."""
MIXES = {
    "dedicated": {"compute": 0.45, "network": 0.2, "stop": 0.25, "device": 0.1},
    "shared": {"compute": 0.2, "network": 0.5, "stop": 0.2, "device": 0.1},
}
KINDS: dict[str, tuple[FaultClass, ...]] = {
    "compute": (FaultClass.SLOW_COMPUTE,),
    "network": (FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE, FaultClass.SLOW_LINK, FaultClass.SLOW_FABRIC),
    "stop": (
        FaultClass.HANG_NOT_ENTERED, FaultClass.HANG_MISMATCH, FaultClass.HANG_IN_TRANSPORT, FaultClass.LOST_RANK,
        FaultClass.WORKLOAD_ERROR,
    ),
    "device": (FaultClass.DEVICE_THERMAL, FaultClass.DEVICE_XID, FaultClass.DEVICE_PCIE),
}  # fmt: skip

SIDES = {FaultClass.SLOW_SEND: 0, FaultClass.SLOW_RECEIVE: 1}
PLACED_ON_EDGES = {*SIDES, FaultClass.SLOW_LINK, FaultClass.HANG_IN_TRANSPORT}


def job(random: np.random.Generator) -> JobSpec:
    """Return a job of some shape, with the unsteadiness jobs have."""
    ranks, tp, pp = SHAPES[int(random.integers(len(SHAPES)))]
    spec = JobSpec(
        ranks=ranks, tp=tp, pp=pp, steps=int(random.integers(70, 100)), microbatches=int(random.integers(2, 6)),
        chunks=int(random.integers(1, 3)), forward_ms=float(random.uniform(15, 60)),
        last_stage=float(random.choice([1.0, 1.0, 1.15])), sequence=float(random.choice([0.0, 0.0, 0.05])),
        buckets=int(random.integers(1, 4)), overlap=bool(random.random() < 0.6), experts=bool(random.random() < 0.15),
        everybody=bool(random.random() < 0.7), transfers=bool(random.random() < 0.5),
        pauses=((int(random.integers(10, 60)), "checkpoint", 3.0),) if random.random() < 0.3 else (),
    )  # fmt: skip
    # A ring moves all gradients twice; what that takes is a share of the computing.
    moved_ms = float(random.uniform(*EXCHANGE)) * 3 * spec.forward_ms * spec.microbatches
    return replace(spec, bucket_mb=moved_ms * spec.gbytes_per_second / 2 / spec.buckets)


def scenario(seed: int, *, mix: str = "dedicated", classes: Sequence[FaultClass] = ()) -> tuple[JobSpec, list[Fault]]:
    """Return a job and one fault of it.

    Args:
        seed: The same seed gives the same scenario.
        mix: How often which kind is drawn: dedicated or shared fabric.
        classes: Draw from these classes only, evenly.
    """
    random = np.random.default_rng(seed)
    spec = job(random)
    if classes:
        fault = classes[int(random.integers(len(classes)))]
    else:
        kinds, shares = zip(*MIXES[mix].items(), strict=True)
        among = KINDS[str(random.choice(kinds, p=shares))]
        fault = among[int(random.integers(len(among)))]
    if fault is FaultClass.HANG_IN_TRANSPORT:
        spec = replace(spec, transfers=True, experts=False)
    return spec, [place(spec, fault, random)]


def place(spec: JobSpec, fault: FaultClass, random: np.random.Generator) -> Fault:
    """Return *fault* somewhere in the job, of some strength."""
    times = float(random.choice(TIMES))
    drawn = Fault(fault, ranks=(int(random.integers(spec.ranks)),), times=times, start=int(random.integers(25, 40)))
    if fault is FaultClass.SLOW_FABRIC:
        leaves = int(spec.host.max()) // spec.hosts_per_leaf + 1
        leaf = spec.host // spec.hosts_per_leaf
        passing = [(a, b) for a, b in crossing(spec) if leaf[a] != leaf[b]]
        return replace(drawn, ranks=(), leaf=int(random.integers(leaves)), times=_felt(spec, passing, times, random))
    if fault is FaultClass.DEVICE_THERMAL:
        return replace(drawn, times=max(times, 1.2))
    edges = crossing(spec)
    if fault not in PLACED_ON_EDGES or not edges:
        return drawn
    side = SIDES.get(fault)
    # A side with a single edge is that edge: nothing could tell them apart.
    many = [r for r in range(spec.ranks) if side is not None and sum(e[side] == r for e in edges) > 1]
    if many:
        rank = many[int(random.integers(len(many)))]
        mine = [e for e in edges if side is not None and e[side] == rank]
        return replace(drawn, ranks=(rank,), times=_felt(spec, mine, times, random))
    edge = edges[int(random.integers(len(edges)))]
    found = fault if side is None else FaultClass.SLOW_LINK
    return replace(drawn, fault=found, ranks=(), links=(edge,), times=_felt(spec, [edge], times, random))


def _felt(spec: JobSpec, edges: list[tuple[int, int]], times: float, random: np.random.Generator) -> float:
    """Return how many times slower *edges* get so that the job feels it: activations are small, gradients are not."""
    stage = spec.ranks // spec.pp
    gradients = any(a // stage == b // stage for a, b in edges)
    return max(times, 1.2) if gradients else float(random.choice(STARVED))


def crossing(spec: JobSpec) -> list[tuple[int, int]]:
    """Return the edges between hosts: neighbours in data groups, and pipeline neighbours both ways."""
    grid, found = spec.grid, []
    for s in range(spec.pp):
        ring = grid[s]
        if spec.dp > 1:
            found += list(zip(ring.reshape(-1).tolist(), np.roll(ring, -1, axis=0).reshape(-1).tolist(), strict=True))
        if s + 1 < spec.pp:
            up = list(zip(grid[s].reshape(-1).tolist(), grid[s + 1].reshape(-1).tolist(), strict=True))
            found += up + [(d, c) for c, d in up]
    host = spec.host
    return sorted({(a, b) for a, b in found if host[a] != host[b]})
