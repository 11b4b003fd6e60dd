"""A training job as physics: hosts launch, devices run in order, collectives end when all have come; then some stop.

Time is a number of microseconds. Every operation's times follow from those of the operations before it (max-plus), so
the order in which ranks are worked off does not matter. The outcome says what each rank launched and saw finished,
and nothing of how that is written down.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

NEVER = float("inf")


@dataclass(eq=False)
class Group:
    """A process group; `ranks` are global, in the group's order."""

    name: str
    desc: str
    ranks: tuple[int, ...]
    place: dict[int, int] = field(init=False)

    def __post_init__(self):
        self.place = {rank: index for index, rank in enumerate(self.ranks)}


@dataclass(eq=False, slots=True)
class Call:
    """A collective as one rank makes it; `sync` holds the rank's compute stream until it ends."""

    group: Group
    op: str
    inputs: tuple
    outputs: tuple
    dtype: str = "BFloat16"
    sync: bool = True
    root: int | None = None


@dataclass(eq=False, slots=True)
class Move:
    """Sends and receives of one rank: `parts` are (source, target) global ranks; several are one coalesced call."""

    group: Group
    parts: tuple
    batched: bool
    sync: bool = True
    shape: tuple = (2048, 1, 512)


@dataclass(slots=True)
class Compute:
    """Work of the device."""

    us: float


class HostSync:
    """The host waits until its device has come here."""


@dataclass(slots=True)
class Wait:
    """The compute stream waits for the asynchronous calls made since."""

    calls: list


@dataclass
class Faults:
    """When (µs) a rank's host or device stops; a dead one leaves no dump, a blind one sees nothing finish any more."""

    host: dict[int, float] = field(default_factory=dict)
    device: dict[int, float] = field(default_factory=dict)
    dead: frozenset[int] = frozenset()
    blind: dict[int, float] = field(default_factory=dict)


@dataclass
class Launch:
    """One launched operation of one rank; times are µs, `began` and `ended` NEVER where that did not happen."""

    action: Call | Move
    at: float
    number: int
    began: float = NEVER
    ended: float = NEVER
    keys: tuple = ()


class _Op:
    """One operation, shared by its members."""

    __slots__ = ("calls", "end", "members", "ready")

    def __init__(self, members):
        self.members, self.ready, self.end, self.calls = members, {}, None, {}


class Cluster:
    """Runs the programs of all ranks as far as they go."""

    def __init__(self, programs, faults=None, *, seed=0, ahead=400, transfer=60.0, overhead=12.0):
        self.programs, self.faults, self.ahead = programs, faults or Faults(), ahead
        self.transfer, self.overhead, self.random = transfer, overhead, Random(seed)
        world = len(programs)
        self.launched = [[] for _ in range(world)]
        self._of_action = [{} for _ in range(world)]
        self._host, self._device = [0] * world, [0] * world
        self._clock, self._compute = [0.0] * world, [0.0] * world
        self._started = [-1] * world
        self._passed = [[] for _ in range(world)]
        self._counts = [{} for _ in range(world)]
        self._ops, self._streams = {}, [{} for _ in range(world)]
        self._stopped = set()
        self._jitter = [[0.7 + 0.6 * self.random.random() for _ in range(64)] for _ in range(world)]

    def run(self):
        """Run until nothing moves; return each rank's launches."""
        self._todo, self._queued = deque(range(len(self.programs))), set(range(len(self.programs)))
        while self._todo:
            rank = self._todo.popleft()
            self._queued.discard(rank)
            while self._advance_host(rank) | self._advance_device(rank):
                pass
        return self.launched

    def _wake(self, rank):
        if rank not in self._queued:
            self._queued.add(rank)
            self._todo.append(rank)

    def _advance_host(self, rank):
        program, moved = self.programs[rank], False
        while self._host[rank] < len(program) and rank not in self._stopped:
            at = self._host[rank]
            action, clock = program[at], self._clock[rank]
            if isinstance(action, HostSync):
                if self._device[rank] < at:
                    break
                clock = max(clock, self._compute[rank])
            elif at - self._device[rank] >= self.ahead:
                break
            elif at >= self.ahead:
                clock = max(clock, self._passed[rank][at - self.ahead])
            clock += self.overhead * self._jitter[rank][at % 64]
            if clock > self.faults.host.get(rank, NEVER):
                self._stopped.add(rank)
                break
            self._clock[rank] = clock
            if isinstance(action, (Call, Move)):
                launch = Launch(action, clock, len(self.launched[rank]))
                self.launched[rank].append(launch)
                self._of_action[rank][id(action)] = launch
            self._host[rank] += 1
            moved = True
        return moved

    def _advance_device(self, rank):
        program, moved = self.programs[rank], False
        while self._device[rank] < self._host[rank]:
            at = self._device[rank]
            action = program[at]
            if isinstance(action, Compute):
                self._compute[rank] += action.us * self._jitter[rank][(at * 7) % 64]
            elif isinstance(action, (Call, Move)):
                launch = self._of_action[rank][id(action)]
                if self._started[rank] < at:
                    self._started[rank] = at
                    self._enter(rank, launch, max(launch.at, self._compute[rank]))
                    moved = True
                if action.sync:
                    if self._end(launch) is None:
                        break
                    self._compute[rank] = max(self._compute[rank], self._end(launch))
            elif isinstance(action, Wait):
                ends = [self._end(self._of_action[rank][id(call)]) for call in action.calls]
                if None in ends:
                    break
                self._compute[rank] = max([self._compute[rank], *ends])
            if self._compute[rank] > self.faults.device.get(rank, NEVER):
                self._compute[rank] = NEVER  # stands still for good
                break
            self._passed[rank].append(self._compute[rank])
            self._device[rank] += 1
            moved = True
        return moved

    def _end(self, launch):
        return None if launch.ended == NEVER else launch.ended

    def _enter(self, rank, launch, base):
        key = launch.action.group.name
        if isinstance(launch.action, Move) and not launch.action.batched:
            key = (key, *launch.action.parts[0])
        queue = self._streams[rank].setdefault(key, deque())
        queue.append((launch, base))
        if len(queue) == 1:
            self._begin(rank, launch, base)

    def _begin(self, rank, launch, ready):
        if ready > self.faults.device.get(rank, NEVER):
            return
        launch.began = ready
        action, counts = launch.action, self._counts[rank]
        single = isinstance(action, Call)
        names = [(action.group.name,)] if single else [(action.group.name, *part) for part in action.parts]
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        launch.keys = tuple((*name, counts[name]) for name in names)
        for key in launch.keys:
            self._join(rank, launch, key, action.group.ranks if single else key[1:3])

    def _join(self, rank, launch, key, members):
        op = self._ops.setdefault(key, _Op(members))
        op.ready[rank], op.calls[rank] = launch.began, launch
        action = launch.action
        if isinstance(action, Call) and action.op in {"broadcast", "_broadcast_oop"}:
            self._spread(op, action.root)
        elif len(op.ready) == len(members) and self._fits(op):
            end = max(op.ready.values()) + self.transfer
            if all(end <= self.faults.device.get(r, NEVER) for r in members):
                op.end = end
                for r in members:
                    self._part_done(r, op.calls[r], end)

    def _spread(self, op, root):
        """Let a broadcast end: its root sends and goes on, a leaf needs the root only."""
        if root in op.ready:
            for r, ready in op.ready.items():
                end = max(ready, op.ready[root]) + self.transfer
                dead = [end > self.faults.device.get(x, NEVER) for x in (r, root)]
                if op.calls[r].ended == NEVER and not any(dead):
                    self._part_done(r, op.calls[r], end)

    def _fits(self, op):
        calls = [launch.action for launch in op.calls.values()]
        if not isinstance(calls[0], Call):
            return True
        kinds = {(call.op, call.dtype) for call in calls}
        uneven = calls[0].op in {"all_to_all", "alltoall_base"}
        return len(kinds) == 1 and (uneven or len({(c.inputs, c.outputs) for c in calls}) == 1)

    def _part_done(self, rank, launch, end):
        action = launch.action
        if len(launch.keys) > 1:
            ends = [self._ops[key].end if key in self._ops else None for key in launch.keys]
            if None in ends:
                return
            end = max(ends)
        launch.ended = end
        key = action.group.name
        if isinstance(action, Move) and not action.batched:
            key = (key, *action.parts[0])
        queue = self._streams[rank][key]
        queue.popleft()
        if queue:
            follower, base = queue[0]
            self._begin(rank, follower, max(base, end))
        self._wake(rank)


@dataclass
class Shape:
    """How a job is cut: tensor, pipeline, data and expert parallel sizes, and how its stages hand over."""

    tp: int
    pp: int
    dp: int
    ep: int = 1
    batched: bool = True
    steps: int = 3
    microbatches: int = 4
    layers: int = 2

    @property
    def world(self):
        """How many ranks."""
        return self.tp * self.pp * self.dp


def groups(shape):
    """Return the groups of a Megatron-like job, rank = (pp * DP + dp) * TP + tp, named by numbers in creation order."""
    place = np.arange(shape.world).reshape(shape.pp, shape.dp, shape.tp)
    lines = [place[:, d, t] for d in range(shape.dp) for t in range(shape.tp)]
    members = [("default_pg", place.ravel())]
    members += [("DATA_PARALLEL_GROUP", place[p, :, t]) for p in range(shape.pp) for t in range(shape.tp)]
    members += [("MODEL_PARALLEL_GROUP", place[:, d].ravel()) for d in range(shape.dp)]
    members += [("TENSOR_MODEL_PARALLEL_GROUP", place[p, d]) for p in range(shape.pp) for d in range(shape.dp)]
    for line in lines:
        members.append(("PIPELINE_MODEL_PARALLEL_GROUP", line))
        members.append(("EMBEDDING_GROUP", line if shape.pp == 1 else line[[0, -1]]))
    if shape.ep > 1:
        starts = range(0, shape.dp, shape.ep)
        experts = [place[p, d : d + shape.ep, t] for p in range(shape.pp) for d in starts for t in range(shape.tp)]
        members += [("EXPERT_MODEL_PARALLEL_GROUP", ranks) for ranks in experts]
    return [Group(str(n), desc, tuple(int(r) for r in ranks)) for n, (desc, ranks) in enumerate(members)]


def programs(shape, jobgroups, seed=0):
    """Return each rank's program: 1F1B pipeline, tensor and expert parallel layers, gradients, norm, parameters."""
    random = Random(seed)
    load = {stage: 300 + 60 * random.random() for stage in range(shape.pp)}
    return [_Writer(shape, rank, jobgroups, load, Random(seed * 1000 + rank)).write() for rank in range(shape.world)]


class _Writer:
    def __init__(self, shape, rank, jobgroups, load, random):
        self.shape, self.rank, self.random = shape, rank, random
        self.mine = {g.desc: g for g in jobgroups if rank in g.place}
        self.stage = rank // (shape.tp * shape.dp)
        self.line = self.mine["PIPELINE_MODEL_PARALLEL_GROUP"].ranks
        self.load, self.out, self.open = load[self.stage], [], []
        self.whole = tuple(2048 if i == 0 else n for i, n in enumerate((2048, 1, 512)))

    def call(self, desc, op, inputs, outputs, **more):
        group = self.mine[desc]
        if len(group.ranks) > 1:
            action = Call(group, op, tuple(inputs), tuple(outputs), **more)
            self.out.append(action)
            return action
        return None

    def move(self, *parts):
        """Hand over: one coalesced call, or receives at once and sends that nobody waits for yet."""
        parts = tuple(p for p in parts if p is not None)
        if not parts:
            return
        group = self.mine["PIPELINE_MODEL_PARALLEL_GROUP"]
        if self.shape.batched:
            self.out.append(Move(group, parts, batched=True))
            return
        for part in sorted(parts, key=lambda p: p[0] != self.rank):
            sending = part[0] == self.rank
            action = Move(group, (part,), batched=False, sync=not sending)
            self.out.append(action)
            if sending:
                self.open.append(action)

    def near(self, step):
        at = self.stage + step
        return self.line[at] if 0 <= at < self.shape.pp else None

    def part(self, direction, step):
        peer = self.near(step)
        if peer is None:
            return None
        return (self.rank, peer) if direction == "send" else (peer, self.rank)

    def layer(self, factor):
        shard, whole = ((512, 1, 512),), ((512 * self.shape.tp, 1, 512),)
        for _ in range(self.shape.layers):
            self.call("TENSOR_MODEL_PARALLEL_GROUP", "_all_gather_base", shard, whole)
            self.out.append(Compute(self.load * factor))
            self.call("TENSOR_MODEL_PARALLEL_GROUP", "_reduce_scatter_base", whole, shard)
            if self.shape.ep > 1:
                uneven = 2048 + self.random.randrange(-200, 200)
                self.out.append(HostSync())
                self.call("EXPERT_MODEL_PARALLEL_GROUP", "all_to_all", ((2048, 512),), ((uneven, 512),))
                self.out.append(Compute(self.load * factor / 2))
                self.call("EXPERT_MODEL_PARALLEL_GROUP", "all_to_all", ((uneven, 512),), ((2048, 512),))

    def forward(self):
        if self.shape.tp > 1:
            root = self.mine["TENSOR_MODEL_PARALLEL_GROUP"].ranks[0]
            tokens = ((1, 4096),)
            self.call("TENSOR_MODEL_PARALLEL_GROUP", "broadcast", tokens, tokens, dtype="Long", root=root)
        self.layer(1.0)

    def backward(self):
        self.layer(2.0)

    def write(self):
        for step in range(self.shape.steps):
            self._pipeline()
            self._update(step)
        return self.out

    def _pipeline(self):
        count, batched = self.shape.microbatches, self.shape.batched
        warmup = min(self.shape.pp - self.stage - 1, count)
        for _ in range(warmup):
            self.move(self.part("recv", -1))
            self.forward()
            self.move(self.part("send", 1))
        if count > warmup:
            self.move(self.part("recv", -1))
        for index in range(warmup, count):
            last = index == count - 1
            self.forward()
            self.move(self.part("send", 1), self.part("recv", 1))
            self.backward()
            if batched or last:
                self.move(self.part("send", -1), None if last else self.part("recv", -1))
            else:
                self.move(self.part("send", -1))
                self.move(self.part("recv", -1))
        for _ in range(warmup):
            self.move(self.part("recv", 1))
            self.backward()
            self.move(self.part("send", -1))

    def _update(self, step):
        self.out.append(Wait(self.open))
        self.open = []
        size = ((1 << 20,),)
        pending = [self.call("DATA_PARALLEL_GROUP", "all_reduce", size, size, sync=False) for _ in range(3)]
        self.out.append(Wait([action for action in pending if action is not None]))
        if self.stage in {0, self.shape.pp - 1} and self.shape.pp > 1:
            self.call("EMBEDDING_GROUP", "all_reduce", ((32000, 64),), ((32000, 64),))
        one = ((1,),)
        self.call("MODEL_PARALLEL_GROUP", "all_reduce", one, one, dtype="Float")
        self.out.append(HostSync())
        self.out.append(Compute(200))
        if step % 2:
            self.call("default_pg", "all_reduce", one, one, dtype="Float")
            self.out.append(HostSync())


def _doubled(shapes):
    return tuple((2 * s[0], *s[1:]) for s in shapes)


def alter(programs_, rank, kind, random):
    """Make *rank*'s program wrong at one collective of its later half; return the group, or None if none fits."""
    program = programs_[rank]
    spots = [i for i, a in enumerate(program) if isinstance(a, Call) and i > len(program) * 0.5]
    spots = [i for i in spots if program[i].op not in {"all_to_all", "broadcast"} and len(program[i].group.ranks) > 2]
    if not spots:
        return None
    at = random.choice(spots)
    call = program[at]
    changes = {
        "op": {"op": "all_reduce" if call.op != "all_reduce" else "_all_gather_base"},
        "size": {"inputs": _doubled(call.inputs), "outputs": _doubled(call.outputs)},
        "dtype": {"dtype": "Half"},
    }
    program[at] = Compute(1.0) if kind == "skip" else replace(call, **changes[kind])
    for action in program:
        if isinstance(action, Wait):
            action.calls = [program[at] if c is call else c for c in action.calls if c is not call or kind != "skip"]
    return call.group
