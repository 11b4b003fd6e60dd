"""Communicators over a set of dumps: which process's group is which, who belongs, how far each member got.

A group's number is local to a process, its name mostly global, its members and description always are. Names repeat
where groups are named alike, and are local where every process names its own; members alone do not tell two groups
over the same ranks apart. So groups are matched by members and description, then by name where the names agree over
the members, else by order of creation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem import counters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from offbeat.analyzer.readers.dumps import Dump, Entry

_UNNAMED = frozenset({"", "undefined"})


@dataclass(slots=True)
class Part:
    """How far one member got in a communicator; None where the dump does not tell.

    `launched` is the highest collective sequence number launched (-1 for none: some backends begin with 0), `done`
    the highest known to be finished. `ops` are the collectives known by number, `waits` those not finished, oldest
    first. `ordered`: the library finishes a communicator's collectives in order, so that one left open behind a
    finished one only looks open. `counted`: only the counters told. `unfinished_only`: the dump left out what had
    finished.
    """

    rank: int
    launched: int | None = None
    done: int | None = None
    ops: dict[int, Entry] = field(default_factory=dict)
    waits: list[Entry] = field(default_factory=list)
    p2p: list[Entry] = field(default_factory=list)
    ordered: bool = True
    counted: bool = False
    unfinished_only: bool = False

    def finished(self, seq: int) -> bool:
        """Whether call *seq* is known to have ended here."""
        if self.done is not None and self.done >= seq:
            return True
        return self.unfinished_only and seq not in self.ops and self.launched is not None and self.launched >= seq


@dataclass(slots=True)
class Communicator:
    """One communicator; `members` are global ranks in communicator order, `inferred` when no dump lists them.

    `partial`: there may be members besides, which left no dump.
    """

    name: str
    desc: str
    members: tuple[int, ...]
    inferred: bool
    partial: bool = False
    parts: dict[int, Part] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name a person knows it by."""
        return self.desc if self.desc not in _UNNAMED else f"group {self.name}"

    def global_rank(self, comm_rank: int) -> int | None:
        """Return the global rank of the member *comm_rank*, None if there is no such member."""
        return self.members[comm_rank] if 0 <= comm_rank < len(self.members) else None


@dataclass(frozen=True, slots=True)
class Local:
    """A group as one process knows it; `entries` are its operations there."""

    dump: Dump
    name: str
    desc: str
    ranks: tuple[int, ...]
    entries: list[Entry]

    @property
    def order(self) -> tuple[int, int, str]:
        """Creation order: torch numbers names, unless they are hashes."""
        return (0, int(self.name), "") if self.name.isdigit() else (1, 0, self.name)


def assemble(dumps: Sequence[Dump]) -> list[Communicator]:
    """Return the communicators of *dumps*, with what each member did in them."""
    _close_parts(dumps)
    unlisted: list[Local] = []
    buckets: dict[tuple[tuple[int, ...], str], list[Local]] = {}
    for local in (local for dump in dumps for local in _locals(dump)):
        if local.ranks:
            buckets.setdefault((local.ranks, local.desc), []).append(local)
        else:
            unlisted.append(local)
    comms = [
        (Communicator(name, desc, ranks, inferred=False), group)
        for (ranks, desc), bucket in buckets.items()
        for name, group in _alike(bucket).items()
    ]
    comms += _adopt(unlisted, comms, _world(dumps), len(dumps))
    identities = counters.identify([group for _, group in comms])
    dumped = {dump.rank for dump in dumps}
    for comm, group in comms:
        for local in group:
            comm.parts[local.dump.rank] = _part(local)
        counters.complete(comm.parts, group, identities)
        for rank in dumped.intersection(comm.members) - comm.parts.keys():
            comm.parts[rank] = Part(rank)
    return [comm for comm, _ in comms]


def _close_parts(dumps: Sequence[Dump]) -> None:
    """Count single sends and receives as finished in groups that coalesce theirs, on whichever rank that shows.

    They are parts of a finished call whose end was not dumped: a stage that only ever sends or only receives at a time
    looks, in a dump of unfinished entries, as if everything it ever sent were under way.
    """
    batching = set[str]().union(*(dump.batching for dump in dumps))
    for entry in (entry for dump in dumps for entry in dump.entries) if batching else ():
        if entry.p2p and not entry.coalesced and (entry.desc or entry.group) in batching:
            entry.open = entry.gave_up


def _locals(dump: Dump) -> Iterable[Local]:
    entries: dict[tuple[str, str], list[Entry]] = {}
    for entry in dump.entries:
        entries.setdefault((entry.group, entry.desc), []).append(entry)
    ranks = {(c.name, c.desc): c.ranks for c in dump.configs if c.name}
    by_name = {c.name: c for c in dump.configs if c.name}
    for key in entries:
        config = by_name.get(key[0])
        if key not in ranks and config is not None:  # named alike, described otherwise: still the same group
            ranks[key] = ranks.pop((config.name, config.desc), config.ranks)
    for name, desc in {**ranks, **entries}:
        listed, mine = ranks.get((name, desc), ()), entries.get((name, desc), [])
        if mine or not listed or dump.rank in listed:  # else it is a group of others
            yield Local(dump, name, desc, listed if dump.rank in listed else (), mine)


def _alike(bucket: list[Local]) -> dict[str, list[Local]]:
    """Split groups of the same members and description: by name where the names agree, else by creation order."""
    by_rank: dict[int, list[Local]] = {}
    for local in bucket:
        by_rank.setdefault(local.dump.rank, []).append(local)
    names = {rank: frozenset(local.name for local in group) for rank, group in by_rank.items()}
    union = frozenset[str]().union(*names.values())
    out: dict[str, list[Local]] = {}
    if union in names.values():  # one process knows all the names, so they are nobody's own
        for local in bucket:
            out.setdefault(local.name, []).append(local)
        return out
    model = [local.name for local in sorted(by_rank[min(by_rank)], key=lambda local: local.order)]
    for group in by_rank.values():
        for index, local in enumerate(sorted(group, key=lambda local: local.order)):
            out.setdefault(model[index] if index < len(model) else f"#{index}", []).append(local)
    return out


def _world(dumps: Sequence[Dump]) -> tuple[int, ...]:
    named = {rank for dump in dumps for config in dump.configs for rank in config.ranks}
    highest = max(named | {dump.rank for dump in dumps})
    default = (e for d in dumps for e in d.entries if e.desc == "default_pg" or (e.group == "0" and e.desc in _UNNAMED))
    highest = max(highest, _implied_size(default) - 1)
    # Ranks are numbered without gaps; absurd numbers come from file names that end in something else.
    return tuple(range(highest + 1)) if highest < 4 * len(dumps) + 64 else tuple(sorted(dump.rank for dump in dumps))


def _implied_size(entries: Iterable[Entry]) -> int:
    """Return how many members the shapes of gathers and scatters tell of, 0 where they do not."""
    told: list[int] = []
    for entry in entries:
        inputs, outputs = entry.numels
        whole, share = (outputs, inputs) if entry.op == "all_gather" else (inputs, outputs)
        if entry.op in {"all_gather", "reduce_scatter"} and len(share) == 1:
            if len(whole) > 1:
                told.append(len(whole))
            elif len(whole) == 1 and share[0] and whole[0] % share[0] == 0:
                told.append(whole[0] // share[0])
    return max(told, key=told.count, default=0)


def _adopt(
    unlisted: list[Local], comms: list[tuple[Communicator, list[Local]]], world: tuple[int, ...], dumped: int
) -> list[tuple[Communicator, list[Local]]]:
    """Place groups whose process does not list the members: with a like one that holds the rank, else by themselves."""
    fresh: dict[tuple[str, str], list[Local]] = {}
    for local in unlisted:
        like = [
            group
            for comm, group in comms
            if (comm.name, comm.desc) == (local.name, local.desc)
            and local.dump.rank in comm.members
            and all(other.dump is not local.dump for other in group)
        ]
        if len(like) == 1:
            like[0].append(local)
        else:
            fresh.setdefault((local.name, local.desc), []).append(local)
    out = []
    for (name, desc), group in fresh.items():
        default = desc == "default_pg" or (name == "0" and desc in _UNNAMED)
        members = world if default else tuple(sorted({local.dump.rank for local in group}))
        size = _implied_size(entry for local in group for entry in local.entries)
        missing = len(world) > dumped and size != len(members)
        partial = not default and (len(members) < max(size, 2) or missing)
        out.append((Communicator(name, desc, members, inferred=True, partial=partial), group))
    return out


def _part(local: Local) -> Part:
    dump = local.dump
    part = Part(dump.rank, ordered=dump.library != "gloo", unfinished_only=dump.unfinished_only)
    for entry in local.entries:
        if entry.p2p:
            part.p2p.append(entry)
        elif entry.seq not in part.ops or len(entry.parts) >= len(part.ops[entry.seq].parts):
            part.ops[entry.seq] = entry
    part.launched = max(part.ops, default=None)
    part.done = max((seq for seq, op in part.ops.items() if not op.open), default=None)
    part.waits = [op for _, op in sorted(part.ops.items()) if op.open]
    if part.ordered and part.done is not None:
        part.waits = [op for op in part.waits if op.gave_up or op.seq > part.done]
    return part
