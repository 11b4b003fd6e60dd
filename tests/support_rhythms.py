"""NCCL Inspector logs of a simulated job, plain or verbose, and cases with their truth.

The job's times come from the same kind of physics as a real one's: all members leave a collective together, so who
comes last has the shortest duration, and what it waits for shows in the other communicators it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

START_US = 1_767_225_600_000_000


@dataclass(frozen=True)
class Comm:
    """A communicator; `ranks` are global, in its order."""

    id: str
    name: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Fault:
    """From `step` on `ranks` compute `factor` times as long, or `comm` transfers that much slower, or `ranks` stop."""

    step: int
    ranks: tuple[int, ...] = ()
    comm: str = ""
    factor: float = 1.0
    stops: bool = False


@dataclass
class Case:
    """Logs by process and the truth about them; `silent` means that no finding is right."""

    kind: str
    lines: dict
    culprits: set = field(default_factory=set)
    classes: frozenset = frozenset()
    may_abstain: bool = False
    note: str = ""


TOGETHER = frozenset({"slow.uniform", "slow.link", "slow.fabric", "slow.mixed"})


def job(tp, dp, random):
    """Return the communicators of a tensor- and data-parallel job and what a step calls: (comm kind, op, bytes)."""
    world = tp * dp
    comms = [Comm("0x1c00000000a001", "default_pg", tuple(range(world)))]
    if tp > 1:
        comms += [Comm(f"0x2b{d:012x}", "tp", tuple(d * tp + t for t in range(tp))) for d in range(dp)]
    if dp > 1:
        comms += [Comm(f"0x3d{t:012x}", "dp", tuple(d * tp + t for d in range(dp))) for t in range(tp)]
    calls = []
    for _ in range(int(random.integers(1, 4))):
        if tp > 1:
            calls += [("tp", "AllGather", 1 << 22), ("tp", "ReduceScatter", 1 << 24)]
        if dp > 1 and random.random() < 0.5:
            calls.append(("dp", "AllReduce", 1 << int(random.integers(20, 24))))
    if dp > 1:
        calls += [("dp", "ReduceScatter", 1 << 26), ("dp", "AllGather", 1 << 25)]
    return comms, [*calls, ("default_pg", "AllReduce", 1 << 13)]


def run(comms, calls, steps, faults, random, *, warm_up=0):
    """Return (comm, op, bytes, number, {rank: (start, end)}) of every call, times in µs."""
    world = len(comms[0].ranks)
    free, numbers, out = np.zeros(world), {}, []
    own = random.uniform(2000, 8000)
    noise = random.uniform(0.005, 0.03)
    stopped = set()
    for step in range(steps):
        active = [f for f in faults if step >= f.step]
        if any(f.stops for f in active):
            stopped |= {r for f in active if f.stops for r in f.ranks}
        factor = np.ones(world)
        for fault in active:
            factor[list(fault.ranks)] *= fault.factor if not fault.stops else 1
        for kind, op, nbytes in calls:
            free += own * factor * np.abs(random.normal(1, noise, world))
            for comm in (c for c in comms if c.name == kind):
                members = list(comm.ranks)
                if stopped.intersection(members) or np.isinf(free[members]).any():
                    free[members] = np.inf
                    continue
                number = numbers[comm.id, op] = numbers.get((comm.id, op), -1) + 1
                took = (40 + nbytes / 150_000) * random.normal(1, 0.01)
                took *= np.prod([f.factor for f in active if f.comm == comm.id] or [1])
                if step < warm_up:
                    took *= random.uniform(3, 80)
                start = free[members].copy()
                end = start.max() + took
                times = {rank: (began, end) for rank, began in zip(members, start, strict=True)}
                out.append((comm, op, nbytes, number, times))
                free[members] = end + random.uniform(0, 2, len(members))
    return out


def write(ops, world, random, *, per_host=4, verbose=False, clocks=None, interval=0, late_start=(), size_noise=2.0):
    """Return the log lines of each process, as the plugin writes them."""
    lines = {rank: [] for rank in range(world)}
    for comm, op, nbytes, number, times in ops:
        for place, rank in enumerate(comm.ranks):
            start, end = times[rank]
            if rank in late_start and number < late_start[rank]:
                continue
            offset = START_US + int(clocks[rank // per_host] if clocks is not None else 0)
            took = max(1, int(end - start + random.normal(0, size_noise)))
            seen = end if not interval else (end // interval + 1) * interval
            perf = {
                "coll": op,
                "coll_sn": number,
                "coll_msg_size_bytes": nbytes,
                "coll_exec_time_us": took,
                "coll_timing_source": "kernel_gpu",
                "coll_algobw_gbs": nbytes / took / 1000,
                "coll_busbw_gbs": nbytes / took / 1000,
            }
            if verbose:
                began, done = offset + int(start), offset + int(start) + took
                perf["event_trace_sn"] = {"coll_start_sn": 1, "coll_stop_sn": 2, "kernel_events": []}
                perf["event_trace_ts"] = {
                    "coll_start_ts": began - 9,
                    "coll_stop_ts": began - 5,
                    "kernel_events": [
                        {"channel_id": c, "kernel_start_ts": began, "kernel_stop_ts": done, "kernel_record_ts": done}
                        for c in range(2)
                    ],
                }
            lines[rank].append(
                {
                    "header": {"id": comm.id, "comm_name": comm.name, "rank": place, "n_ranks": len(comm.ranks),
                               "nnodes": max(1, len(comm.ranks) // per_host)},
                    "metadata": {
                        "inspector_output_format_version": "v4.0",
                        "git_rev": "",
                        "rec_mechanism": "nccl_profiler_interface",
                        "dump_timestamp_us": int(offset + seen),
                        "hostname": f"node{rank // per_host:02d}",
                        "pid": 4000 + rank,
                    },
                    "coll_perf": perf,
                }
            )  # fmt: skip
    return lines


def save(folder, lines, *, cut=False):
    """Write each process's log; *cut* leaves the last line of each unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    for mine in lines.values():
        if not mine:
            continue
        meta = mine[0]["metadata"]
        text = "".join(json.dumps(one, separators=(",", ":")).replace("/", "\\/") + "\n" for one in mine)
        (folder / f"{meta['hostname']}-pid{meta['pid']}.log").write_text(text[:-40] if cut else text)
    return folder


KINDS = (
    "healthy",
    "warm-up",
    "slow rank",
    "two slow ranks",
    "slow communicator",
    "log missing",
    "late start",
    "stopped",
)


def case(seed, kind, *, verbose=False):
    """Return a case of *kind*; the same *seed* gives the same."""
    random = np.random.default_rng([seed, KINDS.index(kind), int(verbose)])
    tp, dp = [(1, 8), (2, 4), (4, 2), (4, 4), (8, 2), (1, 4), (2, 8)][int(random.integers(7))]
    world, steps = tp * dp, int(random.integers(40, 120))
    comms, calls = job(tp, dp, random)
    begin = int(steps * random.uniform(0.3, 0.6))
    who = tuple(int(r) for r in random.choice(world, 2 if kind == "two slow ranks" else 1, replace=False))
    factor = float(random.uniform(1.25, 2.5))
    faults = []
    if kind in {"slow rank", "two slow ranks", "log missing", "late start"}:
        faults = [Fault(begin, who, factor=factor)]
    elif kind == "slow communicator":
        chosen = comms[int(random.integers(len(comms)))]
        faults = [Fault(begin, comm=chosen.id, factor=float(random.uniform(3, 8)))]
    elif kind == "stopped":
        faults = [Fault(begin, who, stops=True)]
    ops = run(comms, calls, steps, faults, random, warm_up=3 if kind == "warm-up" else 0)
    clocks = random.normal(0, 2e6, world) if random.random() < 0.5 else None
    late = {r: int(random.integers(3, 15)) for r in range(world)} if kind == "late start" else {}
    interval = [0, 500_000, 100_000][int(random.integers(3))]
    lines = write(ops, world, random, verbose=verbose, clocks=clocks, interval=interval, late_start=late)
    if kind == "log missing":
        innocent = [r for r in range(world) if r not in who]
        lines[innocent[int(random.integers(len(innocent)))]] = []
    note = f"{tp=} {dp=} {steps=} {begin=} {who=} {factor=:.2f} {calls=} {faults=} {interval=} {clocks is not None=}"
    name = f"{kind}{', verbose' if verbose else ''}"
    if kind == "slow communicator":
        return Case(name, lines, classes=TOGETHER, note=note)
    if kind == "stopped":
        return Case(name, lines, may_abstain=True, note=note)
    if faults:
        return Case(name, lines, set(who), frozenset({"slow.compute"}), note=note)
    return Case(name, lines, note=note)
