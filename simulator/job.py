"""One job, step by step: every rank has a clock; computing moves it on, and so does waiting for others.

Waiting propagates by itself: a collective ends for everybody after the last has come, a receive after the sender has
sent. A rank that stops has a clock at infinity, and so in time has everybody who waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.model import FaultClass
from offbeat.simulator.exchange import Exchange
from offbeat.simulator.faults import ENDING, Effects, effects
from offbeat.simulator.network import MS, Network
from offbeat.simulator.recording import SPANS, Recording
from offbeat.simulator.schedule import schedule

if TYPE_CHECKING:
    from offbeat.simulator.faults import Fault
    from offbeat.simulator.schedule import Task
    from offbeat.simulator.spec import JobSpec

    Floats = np.ndarray[Any, np.dtype[np.float64]]

PAUSE_S = 5.0
"""How long a checkpoint takes that is asked for by `workload.pause`."""


EXPERTS = 0.5
"""Computing of the experts as a share of the rest of a piece."""


class Job:
    """A running simulation. `began` are the times the steps began, by the typical rank (ns since the start)."""

    def __init__(self, spec: JobSpec, faults: tuple[Fault, ...], seed: int) -> None:
        self.spec, self.faults = spec, faults
        self.random = np.random.default_rng(seed)
        self.record = Recording()
        self.exchange = Exchange(spec, self.record, self.random)
        self.groups = self.exchange.groups
        self.clock: Floats = np.zeros(spec.grid.shape)
        self.began: list[float] = []
        self.stopped_at: float | None = None
        """When a fault ended the job's progress, ns since the start."""
        hosts = int(spec.host.max()) + 1
        own = self.random.normal(0, spec.noise.host, hosts)[spec.host] + self.random.normal(
            0, spec.noise.rank, spec.ranks
        )
        self._speed = np.exp(own)[spec.grid]
        self._now = Effects.none(spec.ranks)
        self._ahead: dict[int, Floats] = {}
        """Per stage when the parameters fetched ahead are there."""

    def run(self) -> None:
        """Simulate all steps, or up to a fault that ends them."""
        pauses = {at: (kind, seconds) for at, kind, seconds in self.spec.pauses}
        pauses |= {f.start: ("checkpoint", PAUSE_S) for f in self.faults if f.fault is FaultClass.WORKLOAD_PAUSE}
        for step in range(self.spec.steps):
            if step in pauses:
                self._pause(step, *pauses[step])
            self.began.append(float(np.median(self.clock)))
            self._now = effects(self.spec, self.faults, step, self.random)
            self.exchange.now, self.exchange.net = self._now, Network(self.spec, self._now, self.random)
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
        work = None
        if spec.sequence:
            # Who shares a sequence has equally much of it.
            lengths = np.exp(self.random.normal(0, spec.sequence, (spec.microbatches, shape[1] // spec.cp, 1)))
            work = np.repeat(lengths, spec.cp, axis=1)
        self._pipeline(step, work)
        for stage in range(shape[0]):
            self._compute(stage, spec.forward_ms * 0.5, None)
        if spec.everybody:
            self.clock = self.exchange.everybody(self.clock)

    def _collect(self, step: int) -> None:
        noise = self.spec.noise
        hit = np.asarray(self.random.random(self.clock.shape) < noise.gc_chance)
        if hit.any():
            began = self.clock.copy()
            self.clock = np.where(
                hit, self.clock + noise.gc_ms * MS * self.random.gamma(4, 0.25, hit.shape), self.clock
            )
            self.record.spans(self.spec.grid[hit], step, SPANS.index("gc"), began[hit], self.clock[hit])

    def _pipeline(self, step: int, work: Floats | None) -> None:
        """Let stages compute in the order of their schedule, each as soon as what it needs has come."""
        spec, stages = self.spec, self.clock.shape[0]
        todo = [schedule(s, stages, spec.microbatches, spec.virtual) for s in range(stages)]
        done = [0] * stages
        last = stages * spec.virtual - 1
        sent: dict[tuple[int, bool, int], Floats] = {}
        while any(done[s] < len(todo[s]) for s in range(stages)):
            before = list(done)
            for s in range(stages):
                while done[s] < len(todo[s]):
                    task = todo[s][done[s]]
                    here = task.chunk * stages + s
                    source = here + 1 if task.backward else here - 1
                    needs = (here, task.backward, task.microbatch)
                    if 0 <= source <= last:
                        if needs not in sent:
                            break
                        self.clock[s] = self.exchange.receive(source % stages, s, sent.pop(needs), self.clock[s])
                    self._pass(step, s, task, work)
                    target = here - 1 if task.backward else here + 1
                    if 0 <= target <= last:
                        sent[target, task.backward, task.microbatch] = self.clock[s].copy()
                    done[s] += 1
            assert done != before, "a schedule in which stages wait for each other in a circle"

    def _pass(self, step: int, stage: int, task: Task, work: Floats | None) -> None:
        spec = self.spec
        length = spec.forward_ms * (2 if task.backward else 1) / spec.virtual
        if stage == spec.pp - 1 and task.chunk == spec.virtual - 1:
            length *= spec.last_stage * self._now.imbalance
        share = None if work is None else work[task.microbatch]
        last = task.backward and task.microbatch == spec.microbatches - 1
        began = self.clock[stage].copy()
        ends: Floats | None = None
        for chunk in range(spec.chunks):
            self._piece(stage, length / spec.chunks, share, backward=task.backward)
            if spec.sharded and task.backward:
                ends = self._scatter(stage, ends)
            elif last and spec.overlap and not spec.sharded:
                ends = self._buckets(stage, task.chunk * spec.chunks + chunk, ends)
        if last and task.chunk == 0 and not (spec.overlap or spec.sharded):
            for _ in range(spec.buckets):
                ends = self.exchange.replicas(stage, self.clock[stage], ends)
        if ends is not None:
            self.clock[stage] = np.maximum(self.clock[stage], ends)
        if spec.phases:
            kind = SPANS.index("backward" if task.backward else "forward")
            self.record.spans(spec.grid[stage], step, kind, began, self.clock[stage])

    def _piece(self, stage: int, ms: float, share: Floats | None, *, backward: bool) -> None:
        """Compute a piece of a pass, and exchange what its layers need of others."""
        if self.spec.sharded:
            self._gather(stage)
        self._compute(stage, ms, share)
        self.clock[stage] = self.exchange.tensor(stage, self.clock[stage])
        self.clock[stage] = self.exchange.context(stage, self.clock[stage], backward=backward)
        if self.spec.ep > 1:
            self._experts(stage, ms)

    def _buckets(self, stage: int, chunk: int, ends: Floats | None) -> Floats | None:
        """Reduce the gradient buckets that are ready after a piece of the last backward pass, beside the next."""
        spec = self.spec
        pieces = spec.chunks * spec.virtual
        for _ in range((chunk + 1) * spec.buckets // pieces - chunk * spec.buckets // pieces):
            ends = self.exchange.replicas(stage, self.clock[stage], ends)
        return ends

    def _gather(self, stage: int) -> None:
        """Fetch the parameters of a piece from all replicas: the first is waited for, the next comes meanwhile."""
        size = self.spec.bucket_mb * 1e6 / 4
        ready = self._ahead.pop(stage, None)
        if ready is None:
            ready = self.exchange.replicas(stage, self.clock[stage], None, "all_gather", size)
        self.clock[stage] = np.maximum(self.clock[stage], ready)
        self._ahead[stage] = self.exchange.replicas(stage, self.clock[stage], None, "all_gather", size)

    def _scatter(self, stage: int, ends: Floats | None) -> Floats:
        """Reduce the gradients of a piece to their owners, beside the computing of the next."""
        size = self.spec.bucket_mb * 1e6 / 4
        free = self._ahead.get(stage)
        if ends is not None:
            free = ends if free is None else np.maximum(free, ends)
        return self.exchange.replicas(stage, self.clock[stage], free, "reduce_scatter", size)

    def _experts(self, stage: int, ms: float) -> None:
        """Send tokens to their experts, let these compute, and send them back; a hot expert has more to do."""
        self.clock[stage] = self.exchange.experts(stage, self.clock[stage], back=False)
        self._compute(stage, ms * EXPERTS, np.broadcast_to(self.exchange.load(stage), self.clock[stage].shape))
        self.clock[stage] = self.exchange.experts(stage, self.clock[stage], back=True)

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
