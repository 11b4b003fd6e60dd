"""One second of telemetry of a large job: how long the engine needs for it, and how that grows with the ranks.

The job is made of numbers (labelled simulated): tensor groups of 8 on a host, data groups across hosts, pipeline groups
and one group of all, every rank in four. Run: python benchmarks/engine_scale.py [RANKS ...]
"""

from __future__ import annotations

import resource
import statistics
import sys
import time

import numpy as np
import pyarrow as pa

from offbeat.analyzer.engine.engine import Engine
from offbeat.records import build

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
PER_STEP = {"tp": 6, "pp": 1, "dp": 3, "world": 1}
STEP_NS = SECOND // 2
STAGES = 4


def groups(ranks: int) -> dict[str, list[np.ndarray]]:
    """Return the members of all communicators, by kind."""
    every = np.arange(ranks).reshape(STAGES, -1, 8)  # stage, replica, tensor
    return {
        "tp": [row for stage in every for row in stage],
        "pp": [every[:, d, t] for d in range(every.shape[1]) for t in range(8)],
        "dp": [every[s, :, t] for s in range(STAGES) for t in range(8)],
        "world": [np.arange(ranks)],
    }


class Job:
    """A job of *ranks* ranks whose steps last half a second."""

    def __init__(self, ranks: int) -> None:
        self.ranks, self.step = ranks, 0
        self.random = np.random.default_rng(1)
        names, members, kinds = [], [], []
        for kind, some in groups(ranks).items():
            for k, group in enumerate(some):
                names.append(f"{kind}{k}")
                members.append(group)
                kinds.append(kind)
        self.names, self.members, self.kinds = names, members, kinds
        self.slots = np.concatenate(members)
        self.comm = np.repeat(np.arange(len(names)), [len(m) for m in members])
        self.kind = np.array([list(PER_STEP).index(k) for k in kinds])[self.comm]

    def preamble(self) -> dict[str, pa.Table]:
        """Return memberships and ranks."""
        first = [int(m[0]) for m in self.members]
        n = len(self.names)
        return {
            "ranks": build(
                "ranks",
                {
                    "job": ["big"] * self.ranks, "attempt": [1] * self.ranks, "rank": list(range(self.ranks)),
                    "host": [f"h{r // 8}" for r in range(self.ranks)],
                },
            ),
            "memberships": build(
                "memberships",
                {
                    "job": ["big"] * n, "attempt": [1] * n, "comm": self.names, "comm_rank": [0] * n,
                    "n_ranks": [len(m) for m in self.members], "rank": first,
                    "host": [f"h{r // 8}" for r in first], "members": [m.tolist() for m in self.members],
                },
            ),
        }  # fmt: skip

    def second(self) -> pa.Table:
        """Return the operations of two steps, in the order in which they ended."""
        parts = []
        for _ in range(SECOND // STEP_NS):
            began = START + self.step * STEP_NS
            for k, (kind, count) in enumerate(PER_STEP.items()):
                mine = np.nonzero(self.kind == k)[0]
                for number in range(count):
                    at = began + int(STEP_NS * (0.1 + 0.8 * (k * 6 + number) / 24))
                    enter = at + self.random.gamma(4, 50_000, len(mine)).astype(np.int64)
                    last = np.zeros(len(self.names), np.int64)
                    np.maximum.at(last, self.comm[mine], enter)
                    leave = last[self.comm[mine]] + 2_000_000 + self.random.integers(0, 50_000, len(mine))
                    parts.append((mine, np.full(len(mine), self.step * count + number), enter, leave, kind))
            self.step += 1
        slots = np.concatenate([p[0] for p in parts])
        comm = pa.DictionaryArray.from_arrays(pa.array(self.comm[slots], pa.int32()), pa.array(self.names))
        op = np.concatenate([np.full(len(p[0]), list(PER_STEP).index(p[4])) for p in parts])
        ops = pa.array(["all_gather", "broadcast", "all_reduce", "barrier"])
        columns = {
            "rank": self.slots[slots], "seq": np.concatenate([p[1] for p in parts]),
            "enqueued_at": np.concatenate([p[2] for p in parts]), "ended_at": np.concatenate([p[3] for p in parts]),
            "nbytes": 1_000_000 * (op + 1),
        }  # fmt: skip
        n = len(slots)
        return build(
            "collectives",
            {
                **columns, "job": pa.array(["big"]).take(pa.array(np.zeros(n, np.int64))), "attempt": np.ones(n, int),
                "comm": comm.cast(pa.string()), "op": pa.DictionaryArray.from_arrays(op, ops).cast(pa.string()),
                "observed_at": columns["ended_at"],
            },
        )  # fmt: skip


def measure(ranks: int, seconds: int = 20) -> tuple[float, int, int]:
    """Return the typical time for one second of telemetry (s), rows in it, and findings (there should be none)."""
    engine, job = Engine(), Job(ranks)
    engine.ingest(job.preamble(), START)
    times, rows, found = [], 0, 0
    for second in range(seconds):
        table = job.second()
        rows, now = table.num_rows, START + (second + 1) * SECOND
        began = time.process_time()
        engine.ingest({"collectives": table}, now)
        found += len(engine.evaluate(now))
        times.append(time.process_time() - began)
    return statistics.median(times[seconds // 2 :]), rows, found


def main() -> None:
    """Print a line a size, with the ratio to linear growth."""
    sizes = [int(a) for a in sys.argv[1:]] or [1024, 4096, 16384]
    base = None
    for ranks in sizes:
        took, rows, found = measure(ranks)
        base = base or took / ranks
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{ranks:6d} ranks, {rows:8d} operations: {took:6.3f} s of one core for a second of telemetry "
            f"({took / ranks / base:.2f} x linear from the first), {memory:.0f} MiB at most, {found} findings"
        )


if __name__ == "__main__":
    main()
