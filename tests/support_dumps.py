"""Flight Recorder dumps of a simulated cluster, written as torch's versions write them, and cases with their truth."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass, field
from random import Random

from support_cluster import NEVER, Call, Cluster, Faults, Shape, alter, groups, programs

EPOCH_NS = 1_767_225_600_000_000_000
POLL_US = 100_000
TIMEOUT_US = 600_000_000
VERSIONS = ("2.0", "2.1", "2.4", "2.7", "2.9", "2.10")


@dataclass(frozen=True)
class Style:
    """How dumps are written: format version, what they contain, and the ring's size."""

    version: str = "2.10"
    library: str = "nccl"
    timing: bool = False
    only_active: bool = False
    ring: int = 2000
    status: bool = True
    ranks_listed: bool = True
    as_json: bool = False
    prefix: str = "comm_lib_trace_rank_"

    @property
    def number(self):
        """The version's minor number."""
        return int(self.version.split(".")[1])

    @classmethod
    def draw(cls, random):
        """Return one of the styles that occur."""
        version = random.choice(VERSIONS)
        active = random.random() < 0.3
        return cls(
            version=version,
            timing=random.random() < 0.3,
            only_active=active,
            ring=random.choice([60, 300, 2000, 20_000]),
            status=active or random.random() < 0.7,
            as_json=random.random() < 0.3,
            prefix=random.choice(
                ["comm_lib_trace_rank_", "nccl_trace_rank_", "_dump_", "fr_job7_", "rank", "node-3-trace-rank."]
            ),
        )


@dataclass
class View:
    """One rank's dump before it is written: its groups, its launches, and until when it saw what (µs)."""

    rank: int
    groups: list
    launches: list
    until: float = NEVER
    blind_from: float = NEVER

    @property
    def written(self):
        """When the dump was written, Unix ns: at once, or when the watchdog gave up on a job that hung."""
        last = max((launch.at for launch in self.launches), default=0.0)
        return EPOCH_NS + int((last + TIMEOUT_US if self.until == NEVER else self.until) * 1000)

    def seen(self, launch):
        """Tell whether the watchdog had noticed the end of *launch*."""
        if launch.ended == NEVER or launch.ended > self.blind_from:
            return False
        return self.until == NEVER or launch.ended + POLL_US / 4 <= self.until

    def kept(self):
        """Return the launches made before the dump."""
        return [launch for launch in self.launches if launch.at <= self.until]

    def mark(self):
        """Return what makes this dump differ from another."""
        return frozenset((launch.number, self.seen(launch)) for launch in self.kept())


class _Counters:
    def __init__(self):
        self.collective, self.p2p, self.op = {}, {}, {}


def dump(view, style):
    """Return the dump of *view* as torch would make it."""
    counters, entries, status = _Counters(), [], {}
    local = {group.name: index for index, group in enumerate(view.groups)}
    finished = []
    for launch in view.kept():
        group, move = launch.action.group, not isinstance(launch.action, Call)
        seqs = counters.p2p if move else counters.collective
        seqs[group.name] = seqs.get(group.name, 0) + 1
        seen = view.seen(launch)
        for name, owner in _names(launch.action, view.rank):
            counters.op[group.name] = counters.op.get(group.name, 0) + 1
            entries.append(_entry(len(entries), view.rank, launch, name, owner and seen, owner, counters, local, style))
        counter = status.setdefault(local[group.name], [-1, -1])
        counter[0] = seqs[group.name]
        if seen:
            finished.append((launch.ended // POLL_US, launch.number, local[group.name], seqs[group.name]))
    for _, _, pg, seq in sorted(finished):
        status[pg][1] = seq
    kept = entries[-style.ring :]
    if style.only_active:
        kept = [entry for entry in kept if entry["state"] != "completed"]
    value = {"version": style.version, "entries": kept, "pg_config": _config(view.groups, style)}
    if style.number >= 4:
        value["comm_lib_version" if style.number >= 10 else "nccl_version"] = "2.27.3"
    if style.status and style.number >= 1:
        value["pg_status"] = {
            str(pg): {
                "last_enqueued_collective": enqueued,
                "last_started_collective": enqueued if style.timing else -1,
                "last_completed_collective": done,
            }
            for pg, (enqueued, done) in status.items()
        }
    return value


def _names(action, rank):
    """Return the entries of one call: name, and whether its state is kept up."""
    if isinstance(action, Call):
        return [(action.op, True)]
    place = action.group.place
    parts = [f"send {place[a]}->{place[b]}" if a == rank else f"recv {place[b]}<-{place[a]}" for a, b in action.parts]
    return [(name, False) for name in parts] + [("coalesced", True)] if action.batched else [(parts[0], True)]


def _entry(number, rank, launch, name, done, owner, counters, local, style):
    action, group = launch.action, launch.action.group
    coalesced = name == "coalesced"
    if isinstance(action, Call):
        inputs, outputs, dtype = action.inputs, action.outputs, action.dtype
    else:
        inputs = outputs = () if coalesced else (action.shape,)
        dtype = "BFloat16"
    created = EPOCH_NS + int(launch.at * 1000)
    began = launch.began != NEVER and owner and style.timing
    ended = EPOCH_NS + int((launch.ended + POLL_US / 4) * 1000) if done else None
    entry = {
        "record_id": number,
        "pg_id": local[group.name],
        "process_group": (group.name, group.desc),
        "collective_seq_id": counters.collective.get(group.name, 0),
        "p2p_seq_id": counters.p2p.get(group.name, 0),
        "op_id": counters.op[group.name],
        "profiling_name": f"{style.library}:{name}",
        "time_created_ns": created,
        "input_sizes": [list(s) for s in inputs],
        "input_dtypes": [dtype] * len(inputs),
        "output_sizes": [list(s) for s in outputs],
        "output_dtypes": [dtype] * len(outputs),
        "state": "completed" if done else "started" if began else "scheduled",
        "time_discovered_started_ns": EPOCH_NS + int(launch.began * 1000) if began else None,
        "time_discovered_completed_ns": ended,
        "retired": done,
        "timeout_ms": 600_000,
        "is_p2p": not isinstance(action, Call),
    }
    if style.number >= 9:
        entry |= {"thread_name": "pt_main_thread", "thread_id": "23456244340032"}
    if style.number < 2:
        del entry["input_dtypes"], entry["output_dtypes"]
    if done and style.timing:
        entry["duration_ms"] = (launch.ended - launch.began) / 1000
    return entry


def _config(mine, style):
    config = {}
    for group in mine:
        config[group.name] = {"name": group.name, "desc": group.desc}
        if style.ranks_listed:
            config[group.name]["ranks"] = str(list(group.ranks))
    return config


def write(folder, views, style):
    """Write *views* to *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in views:
        value = dump(view, style)
        path = folder / f"{style.prefix}{view.rank}"
        if style.as_json:
            path = path.with_name(path.name + ".json")
            path.write_bytes(as_json(value))
        else:
            path.write_bytes(pickle.dumps(value, protocol=2))
        os.utime(path, ns=(view.written, view.written))
    return folder


def as_json(value):
    """Return a dump as torch's JSON form has it: counters are strings, no time is 0, no entries no key."""
    value = json.loads(json.dumps(value))
    for counter in value.get("pg_status", {}).values():
        counter.update({key: str(number) for key, number in counter.items()})
    for entry in value["entries"]:
        entry.update({key: 0 for key, number in entry.items() if key.startswith("time_") and number is None})
    if not value["entries"]:
        del value["entries"]
    return json.dumps(value).encode()


@dataclass
class Case:
    """Dumps and the truth about them.

    `culprits` must be named; `traceless` are at fault, too, but nothing in the dumps depends on it, so that naming them
    is right and leaving them out is no error. `classes` are the right ones; `may_abstain` where dumps cannot tell.
    """

    kind: str
    views: list
    style: Style
    culprits: set = field(default_factory=set)
    traceless: set = field(default_factory=set)
    classes: frozenset = frozenset()
    may_abstain: bool = False
    note: str = ""


SHAPES = (
    Shape(2, 2, 2),
    Shape(2, 2, 2, batched=False),
    Shape(4, 2, 1),
    Shape(1, 4, 2, batched=False),
    Shape(1, 8, 1),
    Shape(2, 1, 4, 2),
    Shape(1, 1, 8),
    Shape(1, 1, 8, 4),
    Shape(4, 2, 2, 2),
    Shape(4, 2, 2, 2, batched=False),
    Shape(2, 4, 2, microbatches=6),
    Shape(2, 4, 4, 4, batched=False),
    Shape(4, 1, 4),
    Shape(4, 4, 2),
)
STOPPED = frozenset({"hang.not_entered"})
STUCK = frozenset({"hang.not_entered", "hang.in_transport"})


def hang(seed, kind, count=1, shape=None):
    """Return a case of *kind* with *count* culprits: host, kill, freeze, device, blind, or several joined by `+`."""
    random = Random(f"{seed}/{kind}/{count}")
    for attempt in range(100):
        case = _hang(random, seed * 100 + attempt, kind, count, shape or random.choice(SHAPES))
        if case is not None:
            return case
    raise AssertionError(kind)


def _hang(random, seed, kind, count, shape):
    jobgroups = groups(shape)
    ahead = random.choice([3, 40, 400])
    length = _length(shape, jobgroups, seed, ahead)
    at = length * random.uniform(0.3, 0.95)
    chosen = random.sample(range(shape.world), count)
    kinds = [random.choice(kind.split("+")) for _ in chosen]
    plan = list(zip(chosen, kinds, strict=True))
    style = Style.draw(random)

    def view_all(active):
        faults = _faults(active, at)
        launches = Cluster(programs(shape, jobgroups, seed), faults, seed=seed, ahead=ahead).run()
        missing = {rank for rank, what in plan if what in {"kill", "freeze"}}
        return [
            View(r, [g for g in jobgroups if r in g.place], launches[r], blind_from=faults.blind.get(r, NEVER))
            for r in range(shape.world)
            if r not in missing
        ]

    views = view_all(plan)
    if all(launch.ended != NEVER for view in views for launch in view.launches):
        return None
    marks = {view.rank: view.mark() for view in views}
    traceless = set()
    for one in plan:
        others = view_all([p for p in plan if p != one])
        if {view.rank: view.mark() for view in others} == marks:
            traceless.add(one[0])
    if len(traceless) == len(plan):
        return None
    return Case(
        kind=f"{kind} x{count}",
        views=views,
        style=style,
        culprits=set(chosen) - traceless,
        traceless=traceless,
        classes=STUCK if "device" in kinds else STOPPED,
        may_abstain="device" in kinds or not _blindness_shows(views, chosen),
        note=f"{shape} {plan=} at={at:.0f}/{length:.0f} {ahead=} {style}",
    )


def _blindness_shows(views, chosen):
    """Tell whether each blind rank has something open that another member saw finished."""
    others = {key for view in views for launch in view.launches if view.seen(launch) for key in launch.keys}
    return all(
        any(not view.seen(launch) and others.intersection(launch.keys) for launch in view.launches)
        for view in views
        if view.rank in chosen and view.blind_from != NEVER
    )


def _length(shape, jobgroups, seed, ahead):
    launches = Cluster(programs(shape, jobgroups, seed), seed=seed, ahead=ahead).run()
    return max(launch.ended for mine in launches for launch in mine)


def _faults(plan, at):
    faults = Faults()
    for rank, what in plan:
        if what in {"host", "freeze", "kill"}:
            faults.host[rank] = at
        if what in {"device", "kill"}:
            faults.device[rank] = at
        if what == "blind":
            faults.device[rank], faults.blind[rank] = at, at - POLL_US / 20
    return faults


def mismatch(seed, what, shape=None):
    """Return a case in which one rank makes a wrong call: `op`, `size`, `dtype` or `skip`."""
    random = Random(f"{seed}/{what}")
    for attempt in range(100):
        number = seed * 100 + attempt
        cut = shape or random.choice(SHAPES)
        jobgroups = groups(cut)
        calls = programs(cut, jobgroups, number)
        rank = random.randrange(cut.world)
        group = alter(calls, rank, what, random)
        if group is None:
            continue
        launches = Cluster(calls, seed=number).run()
        if all(launch.ended != NEVER for mine in launches for launch in mine):
            continue
        style = Style.draw(random)
        if what == "dtype" and style.number < 2:
            continue
        views = [View(r, [g for g in jobgroups if r in g.place], launches[r]) for r in range(cut.world)]
        classes = {"hang.mismatch", "hang.not_entered"} if what == "skip" else {"hang.mismatch"}
        return Case(f"mismatch {what}", views, style, {rank}, classes=frozenset(classes), note=f"{cut} {rank=} {group}")
    raise AssertionError(what)


def healthy(seed, *, running, shape=None):
    """Return a case of a job that runs (dumped a moment apart) or has ended."""
    random = Random(f"{seed}/{running}")
    cut = shape or random.choice(SHAPES)
    jobgroups = groups(cut)
    launches = Cluster(programs(cut, jobgroups, seed), seed=seed, ahead=random.choice([3, 40, 400])).run()
    end = max(launch.ended for mine in launches for launch in mine)
    at = end * random.uniform(0.3, 0.9) if running else NEVER
    spread = end * random.choice([0.001, 0.02, 0.1])
    views = [
        View(r, [g for g in jobgroups if r in g.place], launches[r], until=at + random.random() * spread)
        for r in range(cut.world)
    ]
    return Case("healthy running" if running else "healthy ended", views, Style.draw(random), note=f"{cut} {at=}")
