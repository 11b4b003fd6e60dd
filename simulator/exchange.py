"""What ranks exchange: when members of a collective leave it, what a recorder sees of it, and on which edges it ran.

Every call takes the times its ranks enter and gives back the times they leave. Waiting propagates by that alone: a
collective ends for nobody before the last member has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.simulator.network import LATENCY_NS, MS
from offbeat.simulator.recording import OPS

if TYPE_CHECKING:
    from offbeat.simulator.faults import Effects
    from offbeat.simulator.network import Network
    from offbeat.simulator.recording import Recording
    from offbeat.simulator.spec import JobSpec

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

OP = {name: k for k, name in enumerate(OPS)}


class Groups:
    """Numbers and members of all communicators of a job."""

    def __init__(self, spec: JobSpec) -> None:
        """Lay out tensor, data and pipeline groups and the one of all; then context and expert groups."""
        pp, dp, tp = spec.grid.shape
        self.names: list[str] = []
        self.members: list[Ints] = []
        grid = spec.grid
        self.tp = self._add("tp", [grid[s, d] for s in range(pp) for d in range(dp)]).reshape(pp, dp, 1)
        self.dp = self._add("dp", [grid[s, :, t] for s in range(pp) for t in range(tp)]).reshape(pp, 1, tp)
        self.pp = self._add("pp", [grid[:, d, t] for d in range(dp) for t in range(tp)]).reshape(dp, tp)
        self.world = int(self._add("world", [grid.reshape(-1)])[0])
        self.cp = self._blocks("cp", grid, spec.cp) if spec.cp > 1 else None
        self.ep = self._blocks("ep", grid, spec.ep) if spec.ep > 1 else None

    def _blocks(self, kind: str, grid: Ints, size: int) -> Ints:
        """Lay out groups of *size* replicas that follow each other; return the group's number by place in the grid."""
        pp, dp, tp = grid.shape
        blocks = [(s, b, t) for s in range(pp) for b in range(dp // size) for t in range(tp)]
        numbers = self._add(kind, [grid[s, b * size : (b + 1) * size, t] for s, b, t in blocks])
        return np.repeat(numbers.reshape(pp, dp // size, tp), size, axis=1)

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


class Exchange:
    """The communication of a job. `net` and `now` are this step's network and what faults do in it."""

    def __init__(self, spec: JobSpec, record: Recording, random: np.random.Generator) -> None:
        self.spec, self.record, self.random = spec, record, random
        self.groups = Groups(spec)
        self.net: Network
        self.now: Effects
        self._seq: dict[Any, int] = {}
        self._path_free: dict[tuple[int, int], Floats] = {}
        hot = random.normal(0, spec.hot, (spec.pp, spec.dp // spec.ep, 1, spec.ep))
        self._routes = np.exp(np.repeat(hot, spec.ep, axis=2))
        """Per stage and block of replicas, which share of tokens goes to which expert: some are hot, and stay it."""

    def skew(self, shape: tuple[int, ...]) -> Floats:
        """Return by how much members leave after the end, by disorder alone, ns."""
        return np.abs(self.random.normal(0, self.spec.noise.skew_ms * MS, shape))

    def everybody(self, enter: Floats) -> Floats:
        """Reduce a few bytes over all ranks."""
        spec = self.spec
        leave = np.full(enter.shape, enter.max() + 2 * LATENCY_NS * np.log2(spec.ranks + 1)) + self.skew(enter.shape)
        self._collective(_Call(self.groups.world, spec.grid, "world", "all_reduce"), 4, enter, leave)
        return leave

    def tensor(self, stage: int, enter: Floats) -> Floats:
        """Reduce activations in the tensor groups of *stage*; clocks are replicas by tensor positions."""
        spec = self.spec
        if spec.tp == 1:
            return enter
        nbytes = spec.activation_mb * 1e6
        lasts, skew, _ = self.net.ring(spec.grid[stage], nbytes, 2)
        leave = enter.max(axis=1, keepdims=True) + lasts[:, None] + skew
        call = _Call(self.groups.tp[stage], spec.grid[stage], ("tp", stage), "all_reduce")
        self._collective(call, nbytes, enter, leave)
        return np.asarray(leave)

    def context(self, stage: int, enter: Floats, *, backward: bool) -> Floats:
        """Pass keys and values round the context groups of *stage* (their gradients, going back)."""
        spec = self.spec
        if self.groups.cp is None:
            return enter
        nbytes = spec.activation_mb * 1e6 / 4
        split = enter.reshape(-1, spec.cp, spec.tp)
        ring = np.moveaxis(spec.grid[stage].reshape(-1, spec.cp, spec.tp), 1, 2).reshape(-1, spec.cp)
        lasts, skew, _ = self.net.ring(ring, nbytes * spec.cp, 1)
        after = np.moveaxis((lasts[:, None] + skew).reshape(-1, spec.tp, spec.cp), 1, 2)
        leave = (split.max(axis=1, keepdims=True) + after).reshape(enter.shape)
        call = _Call(
            self.groups.cp[stage], spec.grid[stage], ("cp", stage), "reduce_scatter" if backward else "all_gather"
        )
        self._collective(call, nbytes, enter, leave)
        return np.asarray(leave)

    def experts(self, stage: int, enter: Floats, *, back: bool) -> Floats:
        """Exchange tokens in the expert groups of *stage*: to the experts, or *back* to where they came from.

        Sizes are uneven, hot experts get more. A member is done when it has sent and received everything, so members
        leave at different times, and a slow edge holds up its two ends alone (and next time everybody who waits).
        """
        spec = self.spec
        if self.groups.ep is None:
            return enter
        blocks, ep = spec.dp // spec.ep, spec.ep
        share = self._routes[stage] * np.exp(self.random.normal(0, spec.noise.routing, (blocks, ep, ep)))
        nbytes = spec.activation_mb * 1e6 * share / share.mean(axis=2, keepdims=True) / ep
        nbytes = nbytes.transpose(0, 2, 1) if back else nbytes
        grid = spec.grid[stage].reshape(blocks, ep, spec.tp)
        src = np.broadcast_to(grid[:, :, None, :], (blocks, ep, ep, spec.tp))
        dst = np.broadcast_to(grid[:, None, :, :], src.shape)
        sizes = np.broadcast_to(nbytes[..., None], src.shape)
        wire = self.net.edge(src.reshape(-1), dst.reshape(-1), sizes.reshape(-1)).reshape(src.shape)
        wire = np.where(src == dst, 0.0, wire)
        takes = np.maximum(wire.sum(axis=2), wire.sum(axis=1))
        leave = (enter.reshape(blocks, ep, spec.tp).max(axis=1, keepdims=True) + takes).reshape(enter.shape)
        leave = leave + self.skew(enter.shape)
        sent = np.broadcast_to(nbytes.sum(axis=2)[..., None], (blocks, ep, spec.tp)).reshape(enter.shape)
        call = _Call(self.groups.ep[stage], spec.grid[stage], ("ep", stage), "all_to_all")
        self._collective(call, sent, enter, leave)
        return np.asarray(leave)

    def load(self, stage: int) -> Floats:
        """Return how much more than the typical one each replica's expert has to do."""
        share = self._routes[stage].mean(axis=1)
        return np.asarray((share / share.mean(axis=1, keepdims=True)).reshape(-1, 1))

    def replicas(
        self, stage: int, enter: Floats, free: Floats | None, op: str = "all_reduce", nbytes: float | None = None
    ) -> Floats:
        """Launch a collective of the data groups of *stage* beside the computing; return when members are free of it.

        Args:
            stage: Pipeline stage.
            enter: When ranks launch it.
            free: When the one launched before is over, None without one: they queue.
            op: The operation.
            nbytes: Payload of a member, that of a gradient bucket without it.
        """
        spec = self.spec
        if spec.dp == 1:
            return enter if free is None else free
        grid = spec.grid[stage]
        nbytes = spec.bucket_mb * 1e6 if nbytes is None else nbytes
        enter = enter.copy()
        start = enter if free is None else np.maximum(enter, free)
        lasts, skew, wire = self.net.ring(grid.T, nbytes, 2 if op == "all_reduce" else 1)
        begin = start.max(axis=0, keepdims=True)
        leave = begin + lasts[None, :] + skew.T
        seq = self._collective(_Call(self.groups.dp[stage], grid, ("dp", stage), op), nbytes, enter, leave)
        if spec.transfers:
            with np.errstate(invalid="ignore"):
                credit = np.where(np.isfinite(wire), lasts[:, None] - wire, 0)
            share = int(nbytes / spec.dp * (2 if op == "all_reduce" else 1) * (spec.dp - 1))
            self._ring_transfers(stage, seq, share, (begin.T, leave.T, wire, credit))
        return np.asarray(leave)

    def _ring_transfers(self, stage: int, seq: int, share: int, times: tuple[Floats, ...]) -> None:
        src = self.spec.grid[stage].T
        dst, comm = np.roll(src, -1, axis=1), np.broadcast_to(self.groups.dp[stage].reshape(-1, 1), src.shape)
        began, ended, wire, credit = times
        self.record.transfers(comm, seq, src, dst, share, np.broadcast_to(began, src.shape), ended, wire, credit)

    def receive(self, source: int, stage: int, sent: Floats, enter: Floats) -> Floats:
        """Let *stage* wait for what *source* sent; the send ends with it, without holding up the sender."""
        spec = self.spec
        nbytes = spec.activation_mb * 1e6
        src, dst = spec.grid[source], spec.grid[stage]
        enter = enter.copy()
        free = self._path_free.get((source, stage), np.zeros(enter.shape))
        wire = self.net.edge(src.reshape(-1), dst.reshape(-1), nbytes).reshape(enter.shape)
        begin = np.maximum(np.maximum(sent, enter), free)
        leave = begin + wire
        number = self._next(("path", source, stage))
        comm = self.groups.pp
        self.record.operations(comm, src, -1, number, dst, OP["send"], int(nbytes), sent, leave)
        self.record.operations(comm, dst, -1, number, src, OP["recv"], int(nbytes), enter, leave)
        if spec.transfers:
            self.record.transfers(comm, number, src, dst, int(nbytes), begin, leave, wire, np.zeros(wire.shape))
        self._path_free[source, stage] = leave
        return np.asarray(leave)

    def _next(self, key: Any) -> int:
        self._seq[key] = self._seq.get(key, -1) + 1
        return self._seq[key]

    def _collective(self, call: _Call, nbytes: Any, enter: Floats, leave: Floats) -> int:
        ranks, enter = call.ranks, enter.copy()
        seq = self._next(call.counter)
        ops, sizes = np.full(ranks.shape, OP[call.op]), np.broadcast_to(nbytes, ranks.shape).astype(np.int64)
        wrong = np.isin(ranks, list(self.now.deviates))
        if wrong.any():
            # What members disagree about never ends, in the groups of those that deviate.
            group = np.broadcast_to(call.comm, ranks.shape)
            leave[np.isin(group, group[wrong])] = np.inf
            sizes = np.where(wrong, sizes // 2, sizes)
        self.record.operations(call.comm, ranks, seq, -1, -1, ops, sizes, enter, leave)
        return seq
