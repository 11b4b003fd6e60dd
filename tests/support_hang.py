"""A simulated pipeline- and tensor-parallel job that hangs: hosts launch ahead, devices run in order, some stop.

What each rank would dump follows from how far its host and its device came; who stopped is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from support_fr import MS, START_NS, Group, megatron

SYNC = ("sync",)


@dataclass
class Hang:
    """One case: the dumps by rank, and the ranks whose host stopped."""

    dumps: dict
    stopped: set
    description: str


def program(rank, shape, groups, everybody, batches=2, steps=4):
    """Return what *rank* calls: ("call", group, op), ("move", group, from stage, to stage) or a wait for the device."""
    tensor, pipeline, data = shape
    stage = rank // (tensor * data)
    mine = {g.desc: g for g in groups if rank in g.ranks}
    pipe = mine["PIPELINE"]
    calls = []
    for _ in range(steps):
        for _ in range(batches):
            calls += [("move", pipe, stage - 1, stage)] * (stage > 0)
            calls += [("call", mine["TENSOR"], "_all_gather_base"), ("call", mine["TENSOR"], "_reduce_scatter_base")]
            calls += [("move", pipe, stage, stage + 1)] * (stage < pipeline - 1)
        for _ in range(batches):
            calls += [("move", pipe, stage + 1, stage)] * (stage < pipeline - 1)
            calls += [("call", mine["TENSOR"], "_all_gather_base")]
            calls += [("move", pipe, stage, stage - 1)] * (stage > 0)
        calls += [("call", mine["DATA"], "all_reduce")] * (data > 1) + [("call", everybody, "all_reduce"), SYNC]
    return calls


def hang(seed):
    """Return a case; the same *seed* gives the same."""
    random = Random(seed)
    shape = random.choice([(2, 2, 2), (4, 2, 1), (2, 1, 4), (4, 2, 2), (1, 4, 2), (2, 4, 1)])
    world, groups = megatron(*shape)
    everybody = Group("0", "default_pg", range(world))
    calls = [program(rank, shape, groups, everybody) for rank in range(world)]
    halts = {
        rank: int(len(calls[rank]) * 0.6) + random.randrange(4)
        for rank in random.sample(range(world), random.choice([1, 1, 2]))
    }
    ahead = random.choice([1, 3, 1000])
    launched, ran = _run(calls, halts, ahead, random)
    only_active, ring = random.random() < 0.4, random.choice([50, 1000])
    members = [everybody, *groups]
    dumps = {r: _dump(r, calls[r], (launched[r], ran[r]), members, only_active, ring) for r in range(world)}
    stopped = {rank for rank, at in halts.items() if launched[rank] >= at}
    return Hang(dumps, stopped, f"{shape=} {halts=} {ahead=} {only_active=}")


def _numbered(calls):
    """Return each call's identity: the same on all its members."""
    counts, out = {}, []
    for call in calls:
        key = None if call is SYNC else (call[1].name, *(call[2:] if call[0] == "move" else ()))
        counts[key] = counts.get(key, 0) + 1
        out.append((key, counts[key]))
    return out


class _Machine:
    """Hosts that launch and devices that run, as far as they can."""

    def __init__(self, calls, halts, ahead):
        self.calls, self.halts, self.ahead = calls, halts, ahead
        self.numbers = [_numbered(c) for c in calls]
        self.launched, self.ran = [0 for _ in calls], [0 for _ in calls]

    def host(self, rank):
        """Launch one call; tell whether that was possible."""
        at = self.launched[rank]
        full = at - self.ran[rank] >= self.ahead
        if at == len(self.calls[rank]) or at >= self.halts.get(rank, at + 1) or full:
            return False
        if self.calls[rank][at] is SYNC and self.ran[rank] < at:
            return False
        self.launched[rank] += 1
        return True

    def device(self, rank):
        """Run one call together with its other members, if all have come to it."""
        at = self.ran[rank]
        if at == self.launched[rank]:
            return False
        call = self.calls[rank][at]
        members = () if call is SYNC else call[1].ranks
        if call[0] == "move":
            members = [call[1].ranks[stage] for stage in call[2:]]
        others = [r for r in members if r != rank]
        if not all(self._there(r, self.numbers[rank][at]) for r in others):
            return False
        for r in (rank, *others):
            self.ran[r] += 1
        return True

    def _there(self, rank, number):
        return self.ran[rank] < self.launched[rank] and self.numbers[rank][self.ran[rank]] == number


def _run(calls, halts, ahead, random):
    """Let hosts and devices go as far as they can; return how far each came."""
    machine, world, moving = _Machine(calls, halts, ahead), range(len(calls)), True
    while moving:
        moving = False
        for rank in random.sample(world, len(world)):
            while random.random() < 0.8 and machine.host(rank):
                moving = True
            while machine.device(rank):
                moving = True
        moving = moving or any(machine.host(rank) or machine.device(rank) for rank in world)
    return machine.launched, machine.ran


def _dump(rank, calls, progress, groups, only_active, ring):
    launched, ran = progress
    mine = [g for g in groups if rank in g.ranks]
    seq, moved, status, entries = {}, {}, {}, []
    for at, call in enumerate(calls[:launched]):
        if call is SYNC:
            continue
        group, move, done = call[1], call[0] == "move", at < ran
        count = moved if move else seq
        number = count[group.name] = count.get(group.name, 0) + 1
        name = call[2]
        if move:
            source, target = call[2:]
            name = f"send {source}->{target}" if group.ranks[source] == rank else f"recv {target}<-{source}"
        counter = status.setdefault(str(mine.index(group)), {"last_completed_collective": -1})
        counter["last_enqueued_collective"] = number
        if done:
            counter["last_completed_collective"] = number
        entries.append(
            {
                "record_id": len(entries),
                "pg_id": mine.index(group),
                "process_group": (group.name, group.desc),
                "collective_seq_id": seq.get(group.name, 0),
                "p2p_seq_id": moved.get(group.name, 0),
                "profiling_name": f"nccl:{name}",
                "time_created_ns": START_NS + at * MS,
                "input_sizes": [[8]],
                "output_sizes": [[8]],
                "input_dtypes": ["Float"],
                "output_dtypes": ["Float"],
                "state": "completed" if done else "scheduled",
                "retired": done,
                "is_p2p": move,
            }
        )
    kept = [e for e in entries if not e["retired"]] if only_active else entries[-ring:]
    config = {g.name: {"name": g.name, "desc": g.desc, "ranks": str(list(g.ranks))} for g in mine}
    return {"version": "2.9", "nccl_version": "2.27.3", "pg_config": config, "pg_status": status, "entries": kept}
