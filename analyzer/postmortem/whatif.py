"""What a straggler costs: the steps of a straggler trace once more, with some of their parts as quick as the others'.

The dependency graph of a step is laid out from the trace: on each worker operations follow each other; a send and its
receive, and all members of a collective, start moving data when the last of them has come. Its times are then worked
out anew with other lengths. Definitions (arXiv 2505.05713): computing is ideal at the mean of its kind, communication
at the median; S = T / T_ideal; M_W is the share of the slowdown that is gone when the slowest 3 % of workers are ideal,
M_S the same for the last pipeline stage.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from offbeat.analyzer.readers.straggler import StragglerTrace

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Worker = tuple[int, int]

STEPS = 12
"""Steps that are worked out: what a straggler costs is steady from step to step, and more only take time."""
TOGETHER = 1e-4
"""Seconds within which operations of a worker were launched as one."""
SLOWEST = 0.03
"""Share of workers that M_W makes ideal."""
PEERS = {"forward-send": ("forward-recv", 1), "backward-send": ("backward-recv", -1)}
OVER_REPLICAS = {"params-all-gather", "grads-reduce-scatter", "grads-all-reduce", "separate-grads-all-reduce"}
OVER_ALL = {"optimizer-clip-main-grad", "layernorm-grads-all-reduce", "embedding-grads-all-reduce"}
"""Operations in which one waits for replicas of its stage, and those that nobody passes before all have come."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What-if figures: seconds a step as recorded, as worked out, and ideal; the shares M_W and M_S."""

    recorded: float
    modelled: float
    ideal: float
    workers: float
    last_stage: float

    @property
    def slowdown(self) -> float:
        """S: how many times as long as ideal a step takes."""
        return self.modelled / self.ideal


class WhatIf:
    """The steps of a trace, ready to be worked out with some workers made ideal."""

    def __init__(self, trace: StragglerTrace) -> None:
        """Lay out the graphs of some steps, evenly taken."""
        known = np.isfinite(trace.start) & np.isfinite(trace.duration)
        steps = np.unique(trace.step[known])
        chosen = steps[np.unique(np.linspace(0, len(steps) - 1, STEPS).astype(int))] if len(steps) else steps
        self._graphs = [_Graph(trace, np.nonzero(known & (trace.step == s))[0]) for s in chosen]
        self.workers: list[Worker] = sorted({w for g in self._graphs for w in g.programs})

    def seconds(self, ideal: Collection[Worker] = ()) -> float:
        """Return how long a step would take if what *ideal* workers compute were ideal."""
        return float(np.mean([g.run(set(ideal)) for g in self._graphs])) if self._graphs else float("nan")

    def cost(self) -> Cost | None:
        """Return the what-if figures; None where nothing would be gained by making everything ideal."""
        if not self._graphs:
            return None
        modelled = self.seconds()
        best = float(np.mean([g.run(set(self.workers), communication=True) for g in self._graphs]))
        if not best > 0 or modelled <= best:
            return None
        excess: dict[Worker, float] = defaultdict(float)
        for graph in self._graphs:
            for worker, more in graph.excess().items():
                excess[worker] += more
        slowest = sorted(excess, key=lambda w: -excess[w])[: max(1, round(SLOWEST * len(excess)))]
        last = max(stage for stage, _ in self.workers)

        def share(ideal: Collection[Worker]) -> float:
            return (modelled - self.seconds(ideal)) / (modelled - best)

        recorded = float(np.mean([g.recorded for g in self._graphs]))
        return Cost(recorded, modelled, best, share(slowest), share([w for w in self.workers if w[0] == last]))


class _Graph:
    """One step. Operations are numbered; a program is a worker's operations, those launched as one together."""

    def __init__(self, trace: StragglerTrace, rows: Any) -> None:
        rows = rows[np.argsort(trace.start[rows], kind="stable")]
        self.start, self.end = trace.start[rows], trace.start[rows] + trace.duration[rows]
        self.word = [trace.ops[o] if o >= 0 else "" for o in trace.op[rows]]
        self.worker = [(int(s), int(d)) for s, d in zip(trace.stage[rows], trace.replica[rows], strict=True)]
        self.recorded = float(self.end.max(initial=0.0))
        self.programs = self._programs()
        self._peers = self._meetings(trace.seq[rows], trace.chunk[rows])
        computing = np.array([w.endswith("-compute") for w in self.word], bool)
        moving = self.end - np.maximum.reduceat(self.start[self._flat], self._first)[: len(rows)]
        self._length = np.where(computing, self.end - self.start, np.maximum(moving, 0.0))
        self._computing = computing
        self._ideal = self._ideals()
        self._order = self._in_order()

    def _programs(self) -> dict[Worker, list[list[int]]]:
        programs: dict[Worker, list[list[int]]] = defaultdict(list)
        for k, worker in enumerate(self.worker):
            mine = programs[worker]
            if mine and self.start[k] - self.start[mine[-1][0]] < TOGETHER:
                mine[-1].append(k)
            else:
                mine.append([k])
        return programs

    def _meetings(self, seq: Any, chunk: Any) -> list[list[int]]:
        """Return per operation those that must have begun before its data moves, itself among them."""
        meet: dict[Any, list[int]] = defaultdict(list)
        for k, (word, (stage, replica)) in enumerate(zip(self.word, self.worker, strict=True)):
            turn = (int(seq[k]), int(chunk[k]))
            if word in PEERS:
                meet[PEERS[word][0], stage + PEERS[word][1], replica, turn].append(k)
            elif word.endswith("-recv"):
                meet[word, stage, replica, turn].append(k)
            elif word in OVER_REPLICAS:
                meet[word, stage, turn].append(k)
            elif word in OVER_ALL:
                meet[word, turn].append(k)
            else:
                meet[k].append(k)
        peers: list[list[int]] = [[] for _ in self.word]
        for together in meet.values():
            for k in together:
                peers[k] = together
        sizes = [len(p) for p in peers]
        self._flat = np.array([q for p in peers for q in p], np.int64)
        self._first = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
        return peers

    def _ideals(self) -> Floats:
        """Return the ideal length of each operation."""
        of_kind: dict[str, list[int]] = defaultdict(list)
        for k, word in enumerate(self.word):
            of_kind[word].append(k)
        ideal = self._length.copy()
        for word, mine in of_kind.items():
            lengths = self._length[mine]
            ideal[mine] = lengths.mean() if word.endswith("-compute") else np.median(lengths)
        return np.asarray(ideal, np.float64)

    def _in_order(self) -> list[tuple[Worker, int]]:
        """Return all launches in an order in which each comes after what it waits for."""
        begun, done = set[int](), dict.fromkeys(self.programs, 0)
        order: list[tuple[Worker, int]] = []
        moved = True
        while moved:
            moved = False
            for worker, program in self.programs.items():
                while done[worker] < len(program):
                    at = done[worker]
                    if at and not all(q in begun for k in program[at - 1] for q in self._peers[k]):
                        break
                    begun.update(program[at])
                    order.append((worker, at))
                    done[worker] = at + 1
                    moved = True
        return order

    def excess(self) -> dict[Worker, float]:
        """Return by how much longer than ideal each worker computes, seconds."""
        out: dict[Worker, float] = defaultdict(float)
        for k in np.nonzero(self._computing)[0]:
            out[self.worker[k]] += float(self._length[k] - self._ideal[k])
        return out

    def run(self, ideal: set[Worker], *, communication: bool = False) -> float:
        """Return when the step ends, seconds, with *ideal* workers' computing (and all communication) ideal."""
        better = np.array([w in ideal for w in self.worker], bool) & self._computing
        length = np.where(better | (communication & ~self._computing), self._ideal, self._length)
        begin = np.zeros(len(length))
        for worker, at in self._order:
            if at:
                before = self.programs[worker][at - 1]
                begin[self.programs[worker][at]] = max(
                    max(begin[q] for q in self._peers[k]) + length[k] for k in before
                )
        ends = [max(begin[q] for q in self._peers[k]) + length[k] for k in range(len(length))]
        return float(max(ends, default=0.0))
