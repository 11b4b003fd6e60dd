"""One job, step by step: every rank has a clock; computing moves it on, and so does waiting for others.

Waiting propagates by itself: a collective ends for everybody after the last has come, a receive after the sender has
sent. A rank that stops has a clock at infinity, and so in time has everybody who waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.model import FaultClass
from offbeat.simulator.faults import ENDING, Effects, effects
from offbeat.simulator.network import LATENCY_NS, MS, Network
from offbeat.simulator.recording import OPS, SPANS, Recording
from offbeat.simulator.schedule import one_f_one_b

if TYPE_CHECKING:
    from offbeat.simulator.faults import Fault
    from offbeat.simulator.schedule import Task
    from offbeat.simulator.spec import JobSpec

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

OP = {name: k for k, name in enumerate(OPS)}
PAUSE_S = 5.0
"""How long a checkpoint takes that is asked for by `workload.pause`."""


class Groups:
    """Numbers and members of all communicators of a job."""

    def __init__(self, spec: JobSpec) -> None:
        """Lay out tensor, data, pipeline groups and the one of all."""
        pp, dp, tp = spec.grid.shape
        self.names: list[str] = []
        self.members: list[Ints] = []
        grid = spec.grid
        self.tp = self._add("tp", [grid[s, d] for s in range(pp) for d in range(dp)]).reshape(pp, dp, 1)
        self.dp = self._add("dp", [grid[s, :, t] for s in range(pp) for t in range(tp)]).reshape(pp, 1, tp)
        self.pp = self._add("pp", [grid[:, d, t] for d in range(dp) for t in range(tp)]).reshape(dp, tp)
        self.world = int(self._add("world", [grid.reshape(-1)])[0])

    def _add(self, kind: str, groups: list[Ints]) -> Ints:
        first = len(self.names)
        self.names += [f"{kind}{k}" for k in range(len(groups))]
        self.members += groups
        return np.arange(first, len(self.names))


class _Call(NamedTuple):
    """A collective: number of each rank's group, its ranks, what counts its sequence, and the operation."""

    comm: Any
    ranks: Ints
    counter: Any
    op: str


class Job:
    """A running simulation. `began` are the times the steps began, by the typical rank (ns since the start)."""

    def __init__(self, spec: JobSpec, faults: tuple[Fault, ...], seed: int) -> None:
        self.spec, self.faults = spec, faults
        self.random = np.random.default_rng(seed)
        self.groups = Groups(spec)
        self.record = Recording()
        self.clock: Floats = np.zeros(spec.grid.shape)
        self.began: list[float] = []
        self.stopped_at: float | None = None
        """When a fault ended the job's progress, ns since the start."""
        hosts = int(spec.host.max()) + 1
        own = self.random.normal(0, spec.noise.host, hosts)[spec.host] + self.random.normal(
            0, spec.noise.rank, spec.ranks
        )
        self._speed = np.exp(own)[spec.grid]
        self._seq: dict[Any, int] = {}
        self._path_free: dict[tuple[int, int], Floats] = {}
        self._now = Effects.none(spec.ranks)

    def run(self) -> None:
        """Simulate all steps, or up to a fault that ends them."""
        pauses = {at: (kind, seconds) for at, kind, seconds in self.spec.pauses}
        pauses |= {f.start: ("checkpoint", PAUSE_S) for f in self.faults if f.fault is FaultClass.WORKLOAD_PAUSE}
        for step in range(self.spec.steps):
            if step in pauses:
                self._pause(step, *pauses[step])
            self.began.append(float(np.median(self.clock)))
            self._now = effects(self.spec, self.faults, step, self.random)
            self._net = Network(self.spec, self._now, self.random)
            self._step(step)
            if any(f.fault in ENDING and f.start == step for f in self.faults):
                self.stopped_at = self.began[-1]
                return

    def _pause(self, step: int, kind: str, seconds: float) -> None:
        began = self.clock.copy()
        self.clock = began + seconds * 1e9 * np.exp(self.random.normal(0, 0.02, self.clock.shape))
        self.record.spans(self.spec.grid, step, SPANS.index(kind), began, self.clock)

    def _step(self, step: int) -> None:
        spec = self.spec
        shape = self.clock.shape
        began = self.clock.copy()
        wait: Floats = np.asarray(self.random.gamma(2, spec.noise.data_ms / 2, shape)) * MS
        if self._now.input_ms is not None:
            wait += self._now.input_ms[spec.grid] * MS
        self.clock += wait
        self.record.spans(spec.grid, step, SPANS.index("data"), began, self.clock)
        if step == 0:
            self.clock += spec.first_step_s * 1e9
        self._collect(step)
        for rank in self._now.stops:
            self.clock[tuple(np.argwhere(spec.grid == rank)[0])] = np.inf
        work = np.exp(self.random.normal(0, spec.sequence, (spec.microbatches, shape[1], 1))) if spec.sequence else None
        self._pipeline(work)
        for stage in range(shape[0]):
            self._compute(stage, spec.forward_ms * 0.5, None)
        if spec.everybody:
            enter = self.clock.copy()
            leave = np.full(shape, enter.max() + 2 * LATENCY_NS * np.log2(spec.ranks + 1)) + self._skew(shape)
            self._collective(_Call(self.groups.world, spec.grid, "world", "all_reduce"), 4, enter, leave)
            self.clock = leave

    def _collect(self, step: int) -> None:
        noise = self.spec.noise
        hit = np.asarray(self.random.random(self.clock.shape) < noise.gc_chance)
        if hit.any():
            began = self.clock.copy()
            self.clock = np.where(
                hit, self.clock + noise.gc_ms * MS * self.random.gamma(4, 0.25, hit.shape), self.clock
            )
            self.record.spans(self.spec.grid[hit], step, SPANS.index("gc"), began[hit], self.clock[hit])

    def _pipeline(self, work: Floats | None) -> None:
        spec, stages = self.spec, self.clock.shape[0]
        todo = [one_f_one_b(s, stages, spec.microbatches) for s in range(stages)]
        done = [0] * stages
        sent: dict[tuple[int, int, bool, int], Floats] = {}
        while any(done[s] < len(todo[s]) for s in range(stages)):
            for s in range(stages):
                while done[s] < len(todo[s]):
                    task = todo[s][done[s]]
                    source = s + 1 if task.backward else s - 1
                    needs = (source, s, task.backward, task.microbatch)
                    if 0 <= source < stages:
                        if needs not in sent:
                            break
                        self._receive(source, s, sent.pop(needs))
                    self._pass(s, task, work)
                    target = s - 1 if task.backward else s + 1
                    if 0 <= target < stages:
                        sent[s, target, task.backward, task.microbatch] = self.clock[s].copy()
                    done[s] += 1

    def _pass(self, stage: int, task: Task, work: Floats | None) -> None:
        spec = self.spec
        length = spec.forward_ms * (2 if task.backward else 1)
        if stage == spec.pp - 1:
            length *= spec.last_stage * self._now.imbalance
        share = None if work is None else work[task.microbatch]
        last = task.backward and task.microbatch == spec.microbatches - 1
        ends: Floats | None = None
        for chunk in range(spec.chunks):
            self._compute(stage, length / spec.chunks, share)
            self._tensor(stage)
            if spec.experts and not task.backward and chunk == 0:
                self._experts(stage)
            if last and spec.overlap:
                count = (chunk + 1) * spec.buckets // spec.chunks - chunk * spec.buckets // spec.chunks
                for _ in range(count):
                    ends = self._bucket(stage, self.clock[stage], ends)
        if last and not spec.overlap:
            for _ in range(spec.buckets):
                ends = self._bucket(stage, self.clock[stage], ends)
        if ends is not None:
            self.clock[stage] = np.maximum(self.clock[stage], ends)

    def _compute(self, stage: int, ms: float, share: Floats | None) -> None:
        spec, noise = self.spec, self.spec.noise
        shape = self.clock[stage].shape
        took = ms * MS * self._speed[stage] * self._now.compute[spec.grid[stage]]
        took = took * np.exp(self.random.normal(0, noise.chunk, shape))
        if share is not None:
            took = took * share
        paused = np.asarray(self.random.random(shape) < noise.pause_chance)
        if paused.any():
            took += paused * np.minimum((self.random.pareto(1.8, shape) + 1) * noise.pause_ms, 2000) * MS
        self.clock[stage] += took

    def _skew(self, shape: tuple[int, ...]) -> Floats:
        return np.abs(self.random.normal(0, self.spec.noise.skew_ms * MS, shape))

    def _tensor(self, stage: int) -> None:
        spec = self.spec
        if spec.tp == 1:
            return
        enter, nbytes = self.clock[stage].copy(), spec.activation_mb * 1e6
        lasts, skew, _ = self._net.ring(spec.grid[stage], nbytes, 2)
        leave = enter.max(axis=1, keepdims=True) + lasts[:, None] + skew
        self._collective(
            _Call(self.groups.tp[stage], spec.grid[stage], ("tp", stage), "all_reduce"), nbytes, enter, leave
        )
        self.clock[stage] = leave

    def _experts(self, stage: int) -> None:
        spec = self.spec
        if spec.dp == 1:
            return
        grid, typical = spec.grid[stage], spec.activation_mb * 1e6
        enter = self.clock[stage].copy()
        nbytes = typical * np.exp(self.random.normal(0, 0.3, grid.shape))
        lasts, skew, _ = self._net.ring(grid.T, typical, 1)
        leave = enter.max(axis=0, keepdims=True) + (lasts * nbytes.max(axis=0) / typical)[None, :] + skew.T
        self._collective(_Call(self.groups.dp[stage], grid, ("dp", stage), "all_to_all"), nbytes, enter, leave)
        self.clock[stage] = leave

    def _bucket(self, stage: int, enter: Floats, free: Floats | None) -> Floats | None:
        """Launch one gradient bucket; return when members are free of it."""
        spec = self.spec
        if spec.dp == 1:
            return free
        grid, nbytes = spec.grid[stage], spec.bucket_mb * 1e6
        enter = enter.copy()
        start = enter if free is None else np.maximum(enter, free)
        lasts, skew, wire = self._net.ring(grid.T, nbytes, 2)
        begin = start.max(axis=0, keepdims=True)
        leave = begin + lasts[None, :] + skew.T
        call = _Call(self.groups.dp[stage], grid, ("dp", stage), "all_reduce")
        seq = self._collective(call, nbytes, enter, leave)
        if spec.transfers:
            with np.errstate(invalid="ignore"):
                credit = np.where(np.isfinite(wire), lasts[:, None] - wire, 0)
            self._ring_transfers(stage, seq, (begin.T, leave.T, wire, credit))
        return np.asarray(leave)

    def _ring_transfers(self, stage: int, seq: int, times: tuple[Floats, ...]) -> None:
        spec = self.spec
        src = spec.grid[stage].T
        dst, comm = np.roll(src, -1, axis=1), np.broadcast_to(self.groups.dp[stage].reshape(-1, 1), src.shape)
        share = int(spec.bucket_mb * 1e6 / spec.dp * 2 * (spec.dp - 1))
        began, ended, wire, credit = times
        self.record.transfers(comm, seq, src, dst, share, np.broadcast_to(began, src.shape), ended, wire, credit)

    def _receive(self, source: int, stage: int, sent: Floats) -> None:
        """Let *stage* wait for what *source* sent; the send ends with it, without holding up the sender."""
        spec = self.spec
        nbytes = spec.activation_mb * 1e6
        src, dst = spec.grid[source], spec.grid[stage]
        enter = self.clock[stage].copy()
        free = self._path_free.get((source, stage), np.zeros(enter.shape))
        wire = self._net.edge(src.reshape(-1), dst.reshape(-1), nbytes).reshape(enter.shape)
        begin = np.maximum(np.maximum(sent, enter), free)
        leave = begin + wire
        number = self._next(("path", source, stage))
        comm = self.groups.pp
        self.record.operations(comm, src, -1, number, dst, OP["send"], int(nbytes), sent, leave)
        self.record.operations(comm, dst, -1, number, src, OP["recv"], int(nbytes), enter, leave)
        if spec.transfers:
            self.record.transfers(comm, number, src, dst, int(nbytes), begin, leave, wire, np.zeros(wire.shape))
        self._path_free[source, stage] = leave
        self.clock[stage] = leave

    def _next(self, key: Any) -> int:
        self._seq[key] = self._seq.get(key, -1) + 1
        return self._seq[key]

    def _collective(self, call: _Call, nbytes: Any, enter: Floats, leave: Floats) -> int:
        ranks = call.ranks
        seq = self._next(call.counter)
        ops, sizes = np.full(ranks.shape, OP[call.op]), np.broadcast_to(nbytes, ranks.shape).astype(np.int64)
        wrong = np.isin(ranks, list(self._now.deviates))
        if wrong.any():
            # What members disagree about never ends, in the groups of those that deviate.
            group = np.broadcast_to(call.comm, ranks.shape)
            leave[np.isin(group, group[wrong])] = np.inf
            sizes = np.where(wrong, sizes // 2, sizes)
        self.record.operations(call.comm, ranks, seq, -1, -1, ops, sizes, enter, leave)
        return seq
