"""Made Flight Recorder dumps: a small job that is told what its ranks call, and writes what they would dump."""

from __future__ import annotations

import json
import pickle

START_NS = 1_758_580_155_000_000_000
MS = 1_000_000


class Group:
    """A process group; `names` gives a rank its own name for it, where names are local."""

    def __init__(self, name, desc, ranks, names=None):
        self.name, self.desc, self.ranks = name, desc, tuple(ranks)
        self.names = names or {}

    def name_on(self, rank):
        return self.names.get(rank, self.name)


class Job:
    """Ranks that call collectives and sends; every call takes one millisecond of time."""

    def __init__(self, world, groups=(), *, library="nccl", version="2.10", timing=False):
        self.world, self.library, self.version, self.timing = world, library, version, timing
        self.groups = [Group("0", "default_pg", range(world)), *groups]
        self.entries = {rank: [] for rank in range(world)}
        self.seqs, self.p2p, self.ops = {}, {}, {}
        self.records = dict.fromkeys(range(world), 0)
        self.status = {rank: {} for rank in range(world)}
        self.now = START_NS

    def group(self, desc):
        return next(g for g in self.groups if desc in {g.desc, g.name})

    def call(self, desc="default_pg", op="all_reduce", *, ranks=None, done=True, numel=1000, out=None, dtype="Float"):
        """Let *ranks* (default: all members) call *op*; *done* is True, False or the ranks that finish it."""
        group = self.group(desc)
        self.now += MS
        for rank in group.ranks if ranks is None else ranks:
            seq = self.seqs[rank, group.name] = self.seqs.get((rank, group.name), 0) + 1
            finished = done if isinstance(done, bool) else rank in done
            self._record(rank, group, op, seq, finished, numel, out if out is not None else numel, dtype)

    def send(self, source, target, desc="default_pg", *, sides="both", done=False, numel=2048):
        """Record a send and its receive, or only one *side* ("send" or "recv")."""
        group = self.group(desc)
        self.now += MS
        a, b = group.ranks.index(source), group.ranks.index(target)
        if sides in {"both", "send"}:
            self._transfer(source, group, f"send {a}->{b}", done, numel)
        if sides in {"both", "recv"}:
            self._transfer(target, group, f"recv {b}<-{a}", done, numel)

    def batch(self, rank, parts, desc="default_pg", *, done=False, owner=True):
        """Record a coalesced batch of sends and receives on *rank*: its parts never change state."""
        group = self.group(desc)
        self.now += MS
        seq = self.p2p[rank, group.name] = self.p2p.get((rank, group.name), 0) + 1
        for part in parts:
            self._entry(rank, group, part, seq, False, [[8]], [[8]], "Float", p2p=True)
        if owner:
            self._entry(rank, group, "coalesced", seq, done, [], [], "Float", p2p=True)

    def coalesced(self, parts, desc="default_pg", *, end="coalesced", done=True):
        """Record a coalesced collective; *parts* is rank -> list of (op, numel)."""
        group = self.group(desc)
        self.now += MS
        for rank, calls in parts.items():
            seq = self.seqs[rank, group.name] = self.seqs.get((rank, group.name), 0) + 1
            for op, numel in calls:
                self._entry(rank, group, op, seq, False, [[numel]], [[numel]], "Float")
            self._entry(rank, group, end, seq, done, [], [], "Float")

    def _transfer(self, rank, group, name, done, numel):
        seq = self.p2p[rank, group.name] = self.p2p.get((rank, group.name), 0) + 1
        self._entry(rank, group, name, seq, done, [[numel]], [[numel]], "Float", p2p=True)

    def _record(self, rank, group, op, seq, finished, numel, out, dtype):
        sizes = [] if op == "barrier" else [[numel]]
        self._entry(rank, group, op, seq, finished, sizes, [] if op == "barrier" else [[out]], dtype)

    def _entry(self, rank, group, op, seq, finished, inputs, outputs, dtype, *, p2p=False):
        key = (rank, group.name)
        self.ops[key] = self.ops.get(key, 0) + 1
        eventful = self.library != "gloo"
        entry = {
            "record_id": self.records[rank],
            "pg_id": self.pg_id(rank, group),
            "process_group": (group.name_on(rank), group.desc),
            "collective_seq_id": self.seqs.get(key, 0) if p2p else seq,
            "p2p_seq_id": seq if p2p else self.p2p.get(key, 0),
            "op_id": self.ops[key],
            "profiling_name": f"{self.library}:{op}",
            "time_created_ns": self.now,
            "input_sizes": inputs,
            "output_sizes": outputs,
            "input_dtypes": [dtype] * len(inputs),
            "output_dtypes": [dtype] * len(outputs),
            "state": "completed" if finished and eventful else "started" if self.timing else "scheduled",
            "time_discovered_started_ns": self.now + 1000 if self.timing else None,
            "time_discovered_completed_ns": self.now + MS // 2 if finished and eventful else None,
            "retired": finished,
            "timeout_ms": 600_000,
            "is_p2p": p2p,
        }
        self.records[rank] += 1
        self.entries[rank].append(entry)
        status = self.status[rank].setdefault(entry["pg_id"], [-1, -1])
        status[0] = seq
        if finished:
            status[1] = seq

    def pg_id(self, rank, group):
        return [g for g in self.groups if rank in g.ranks].index(group)

    def dump(self, rank, *, only_active=False, ring=None, entries=True):
        """Return what *rank* dumps; *ring* keeps its newest entries only."""
        kept = self.entries[rank][-ring:] if ring else self.entries[rank]
        if only_active:
            kept = [e for e in kept if e["state"] != "completed"]
        return {
            "version": self.version,
            "comm_lib_version": "" if self.library == "gloo" else "2.30.7",
            "pg_config": {
                g.name_on(rank): {"name": g.name_on(rank), "desc": g.desc, "ranks": str(list(g.ranks))}
                for g in self.groups
                if rank in g.ranks
            },
            "pg_status": {
                str(key): {
                    "last_enqueued_collective": enqueued,
                    "last_started_collective": -1,
                    "last_completed_collective": completed,
                }
                for key, (enqueued, completed) in self.status[rank].items()
            },
            "entries": kept if entries else [],
        }

    def write(self, folder, *, ranks=None, name="trace_rank_{}", change=None, **options):
        """Write the dumps of *ranks* (default: all) to *folder*; `change(rank, dump)` may alter one first."""
        folder.mkdir(parents=True, exist_ok=True)
        for rank in range(self.world) if ranks is None else ranks:
            dump = self.dump(rank, **options)
            if change is not None:
                dump = change(rank, dump) or dump
            path = folder / name.format(rank)
            path.write_bytes(as_json(dump) if name.endswith("json") else pickle.dumps(dump, protocol=2))
        return folder


def as_json(dump):
    """Write *dump* as the JSON form does: counters are strings, no time is 0, no entries no key."""
    dump = json.loads(json.dumps(dump))
    for status in dump["pg_status"].values():
        status.update({key: str(value) for key, value in status.items()})
    for entry in dump["entries"]:
        entry.update({key: 0 for key, value in entry.items() if key.startswith("time_") and value is None})
    if not dump["entries"]:
        del dump["entries"]
    return json.dumps(dump).encode()


def megatron(tensor=4, pipeline=2, data=2):
    """Return groups of a Megatron-like job: rank = (pp * data + dp) * tensor + tp."""
    world = tensor * pipeline * data
    groups, number = [], 1

    def add(desc, members):
        nonlocal number
        groups.append(Group(str(number), desc, members))
        number += 1

    for p in range(pipeline):
        for d in range(data):
            add("TENSOR", [(p * data + d) * tensor + t for t in range(tensor)])
    for d in range(data):
        for t in range(tensor):
            add("PIPELINE", [(p * data + d) * tensor + t for p in range(pipeline)])
    for p in range(pipeline):
        for t in range(tensor):
            add("DATA", [(p * data + d) * tensor + t for d in range(data)])
    return world, groups
