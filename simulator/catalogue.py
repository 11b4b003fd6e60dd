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

SHAPES = (
    (64, 8, 1), (64, 4, 2), (64, 8, 2), (128, 8, 4), (64, 2, 4), (96, 4, 3), (32, 1, 1), (64, 8, 4), (32, 2, 2),
    (32, 4, 2), (32, 4, 1), (48, 2, 3), (256, 8, 4), (1024, 8, 8),
)  # fmt: skip
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
        FaultClass.LOST_HOST, FaultClass.WORKLOAD_ERROR,
    ),
    "device": (
        FaultClass.DEVICE_THERMAL, FaultClass.DEVICE_XID, FaultClass.DEVICE_PCIE, FaultClass.DEVICE_POWER,
        FaultClass.DEVICE_ECC, FaultClass.DEVICE_NVLINK, FaultClass.DEVICE_NIC, FaultClass.DEVICE_MEMORY,
        FaultClass.DEVICE_DISK,
    ),
    "workload": (
        FaultClass.WORKLOAD_STAGE_IMBALANCE, FaultClass.WORKLOAD_SEQUENCE_IMBALANCE, FaultClass.WORKLOAD_INPUT_STALL,
        FaultClass.WORKLOAD_PAUSE,
    ),
    "rest": (
        FaultClass.SLOW_MIXED, FaultClass.SLOW_UNIFORM, FaultClass.TELEMETRY_LOST, FaultClass.CORRUPTION_REPLICA,
    ),
}  # fmt: skip
EVERY = tuple(fault for kind in KINDS.values() for fault in kind)
"""Every class of the contract."""
PAIRS = (
    ("compute", "compute"), ("compute", "network"), ("network", "network"), ("compute", "device"),
    ("network", "device"), ("compute", "stop"), ("stopped", "stopped"), ("compute", "rest"),
)  # fmt: skip
"""Kinds of two faults at once; `stopped` are two ranks that do not come, `rest` a replica unlike the others."""
OF_PAIRS = {
    "compute": KINDS["compute"],
    "network": (FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE, FaultClass.SLOW_LINK),
    "device": (FaultClass.DEVICE_THERMAL, FaultClass.DEVICE_POWER, FaultClass.DEVICE_NIC),
    "stop": (FaultClass.HANG_NOT_ENTERED, FaultClass.LOST_RANK, FaultClass.WORKLOAD_ERROR),
    "stopped": (FaultClass.HANG_NOT_ENTERED,),
    "rest": (FaultClass.CORRUPTION_REPLICA,),
}

SIDES = {FaultClass.SLOW_SEND: 0, FaultClass.SLOW_RECEIVE: 1, FaultClass.SLOW_MIXED: 0}
OF_NOBODY = {FaultClass.SLOW_UNIFORM, *KINDS["workload"]}
LEAST_OF = {FaultClass.SLOW_UNIFORM: 1.1, FaultClass.WORKLOAD_STAGE_IMBALANCE: 1.3}
"""Least strength of what happens to the whole job; an input that comes late by less is made up for by prefetching."""
OF_HOSTS = {FaultClass.LOST_HOST, FaultClass.TELEMETRY_LOST}
DUTY = (0.3, 0.7)
"""Share of steps in which an intermittent fault shows."""
PLACED_ON_EDGES = {*SIDES, FaultClass.SLOW_LINK, FaultClass.HANG_IN_TRANSPORT}


def job(random: np.random.Generator, most: int = 128) -> JobSpec:
    """Return a job of some shape of at most *most* ranks, with the unsteadiness jobs have."""
    shapes = [shape for shape in SHAPES if shape[0] <= most]
    ranks, tp, pp = shapes[int(random.integers(len(shapes)))]
    spec = JobSpec(
        ranks=ranks, tp=tp, pp=pp, steps=int(random.integers(70, 100)), microbatches=int(random.integers(2, 6)),
        chunks=int(random.integers(1, 3)), forward_ms=float(random.uniform(15, 60)),
        last_stage=float(random.choice([1.0, 1.0, 1.15])), sequence=float(random.choice([0.0, 0.0, 0.05])),
        buckets=int(random.integers(1, 4)), overlap=bool(random.random() < 0.6),
        everybody=bool(random.random() < 0.7), transfers=bool(random.random() < 0.5),
        pauses=((int(random.integers(10, 60)), "checkpoint", 3.0),) if random.random() < 0.3 else (),
    )  # fmt: skip
    if random.random() < 0.35:
        spec = _variant(spec, random)
    # A ring moves all gradients twice; what that takes is a share of the computing.
    moved_ms = float(random.uniform(*EXCHANGE)) * 3 * spec.forward_ms * spec.microbatches
    return replace(spec, bucket_mb=moved_ms * spec.gbytes_per_second / 2 / spec.buckets)


def _variant(spec: JobSpec, random: np.random.Generator) -> JobSpec:
    """Return *spec* with experts, context parallelism, an interleaved schedule or sharded parameters, as it allows."""
    even = [n for n in (2, 4, 8) if spec.dp % n == 0]
    kinds = ["ep", "cp"] if even else []
    kinds += ["virtual"] if spec.pp > 2 else []
    kinds += ["sharded"] if spec.pp == 1 and spec.tp < 8 else []
    if not kinds:
        return spec
    kind = kinds[int(random.integers(len(kinds)))]
    if kind == "virtual":
        return replace(spec, virtual=2, microbatches=spec.pp)
    if kind == "sharded":
        return replace(spec, sharded=True, microbatches=2)
    size = int(random.choice(even))
    return replace(spec, cp=size) if kind == "cp" else replace(spec, ep=size)


def scenario(
    seed: int, *, mix: str = "dedicated", classes: Sequence[FaultClass] = (), shape: str = "sudden", most: int = 128
) -> tuple[JobSpec, list[Fault]]:
    """Return a job and what is wrong with it.

    Args:
        seed: The same seed gives the same scenario.
        mix: How often which kind is drawn: dedicated or shared fabric.
        classes: Draw from these classes only, evenly.
        most: Ranks of the largest job that is drawn.
        shape: How faults come: sudden, creeping, intermittent, or two at once (`pair`, of mixed kinds).
    """
    random = np.random.default_rng(seed)
    spec = job(random, most)
    if shape == "pair":
        return _pair(spec, random)
    if classes:
        fault = classes[int(random.integers(len(classes)))]
    else:
        kinds, shares = zip(*MIXES[mix].items(), strict=True)
        among = KINDS[str(random.choice(kinds, p=shares))]
        fault = among[int(random.integers(len(among)))]
    spec = suited(spec, fault, random)
    placed = place(spec, fault, random)
    if shape == "creeping":
        spec = replace(spec, steps=spec.steps + 60)
        placed = replace(placed, creeps=True, times=max(placed.times, 1.2))
    elif shape == "intermittent":
        spec = replace(spec, steps=spec.steps + 60)
        placed = replace(placed, duty=float(random.uniform(*DUTY)), times=max(placed.times, 1.2))
    return spec, [placed]


def suited(spec: JobSpec, fault: FaultClass, random: np.random.Generator) -> JobSpec:
    """Return *spec* as it must be for *fault* to be there, and to be seen."""
    if fault is FaultClass.SLOW_FABRIC:
        return replace(spec, hosts_per_leaf=max((int(spec.host.max()) + 1) // 4, 2))
    if fault is FaultClass.HANG_IN_TRANSPORT:
        return replace(spec, transfers=True, ep=1)
    if fault is FaultClass.WORKLOAD_SEQUENCE_IMBALANCE:
        # Lengths differ from the first step on: it is how the job is fed, not something that happens to it.
        return replace(spec, sequence=float(random.uniform(0.25, 0.5)), phases=bool(random.random() < 0.5))
    if fault is FaultClass.WORKLOAD_STAGE_IMBALANCE and spec.pp == 1:
        return replace(spec, tp=4, pp=4, ranks=64, cp=1, ep=1, sharded=False)
    return spec


def _pair(spec: JobSpec, random: np.random.Generator) -> tuple[JobSpec, list[Fault]]:
    """Return two faults on places that have nothing to do with each other."""
    kinds = PAIRS[int(random.integers(len(PAIRS)))]
    if "network" in kinds:
        # What two slow edges do to each other's groups only transfers tell apart, in a job of few groups.
        spec = replace(spec, transfers=True)
    found: list[Fault] = []
    for kind in kinds:
        among = OF_PAIRS[kind]
        for _ in range(100):
            new = place(spec, among[int(random.integers(len(among)))], random)
            new = replace(new, times=max(new.times, 1.2))
            if not found or not touched(spec, found[0]) & touched(spec, new):
                break
        found.append(new)
    if kinds == ("stopped", "stopped"):
        found = [replace(f, start=found[0].start) for f in found]
    elif "stop" in kinds:
        found[1] = replace(found[1], start=found[0].start + 35)
        spec = replace(spec, steps=found[1].start + 2)
    return spec, found


def touched(spec: JobSpec, fault: Fault) -> set[int]:
    """Return the hosts that *fault* has to do with."""
    hosts = {int(spec.host[r]) for r in (*fault.ranks, *(r for link in fault.links for r in link))}
    if fault.leaf is not None:
        hosts |= set(np.unique(spec.host[spec.host // spec.hosts_per_leaf == fault.leaf]).tolist())
    return hosts


def place(spec: JobSpec, fault: FaultClass, random: np.random.Generator) -> Fault:
    """Return *fault* somewhere in the job, of some strength."""
    times = float(random.choice(TIMES))
    drawn = Fault(fault, ranks=(int(random.integers(spec.ranks)),), times=times, start=int(random.integers(25, 40)))
    if fault is FaultClass.SLOW_FABRIC:
        leaves = int(spec.host.max()) // spec.hosts_per_leaf + 1
        leaf = spec.host // spec.hosts_per_leaf
        passing = [(a, b) for a, b in crossing(spec) if leaf[a] != leaf[b]]
        return replace(drawn, ranks=(), leaf=int(random.integers(leaves)), times=_felt(spec, passing, times, random))
    if fault in {FaultClass.DEVICE_THERMAL, FaultClass.DEVICE_POWER}:
        return replace(drawn, times=max(times, 1.2))
    if fault in OF_NOBODY:
        # The whole job, a stage of it or its input: no rank of it is meant.
        return replace(drawn, ranks=(), times=max(times, LEAST_OF.get(fault, 1.5)))
    if fault in OF_HOSTS:
        host = int(random.integers(spec.host.max() + 1))
        return replace(drawn, ranks=tuple(np.nonzero(spec.host == host)[0].tolist()))
    edges = crossing(spec)
    return _on_edges(spec, drawn, edges, random) if fault in PLACED_ON_EDGES and edges else drawn


def _on_edges(spec: JobSpec, drawn: Fault, edges: list[tuple[int, int]], random: np.random.Generator) -> Fault:
    """Return *drawn* on one of *edges*, or on a rank's side of several."""
    side = SIDES.get(drawn.fault)
    # A side with a single edge is that edge: nothing could tell them apart.
    least = 1 if drawn.fault is FaultClass.SLOW_MIXED else 2
    many = [r for r in range(spec.ranks) if side is not None and sum(e[side] == r for e in edges) >= least]
    if many:
        rank = many[int(random.integers(len(many)))]
        mine = [e for e in edges if side is not None and e[side] == rank]
        return replace(drawn, ranks=(rank,), times=_felt(spec, mine, drawn.times, random))
    edge = edges[int(random.integers(len(edges)))]
    found = drawn.fault if side is None else FaultClass.SLOW_LINK
    return replace(drawn, fault=found, ranks=(), links=(edge,), times=_felt(spec, [edge], drawn.times, random))


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
    if spec.virtual > 1:
        found += list(zip(grid[-1].reshape(-1).tolist(), grid[0].reshape(-1).tolist(), strict=True))
    host = spec.host
    return sorted({(a, b) for a, b in found if host[a] != host[b]})
