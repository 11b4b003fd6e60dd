"""The fewest parts of a network that explain which of its edges are slow and which are not.

An edge is a directed path between ranks of different hosts. What shares a transmit side, a receive side, a pair of
hosts, a leaf or a rail fails together: a hot row, column, cell or block of the delay matrix.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.model import Culprits, FaultClass, Link

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from offbeat.analyzer.engine.job import JobState

Edge = tuple[int, int]

FALSE = 2.0
"""What an edge that is as quick as ever counts against a part it belongs to, in slow edges explained; less, and every
fault is a whole switch's."""
MOST = 4
"""Parts named at once; more is no diagnosis."""
SHARE = 0.6
"""Share of a part's known edges that must be slow; less, and the part is where two faults met by chance."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the network that can be slow, and the edges that pass it."""

    fault: FaultClass
    culprits: Culprits
    name: str
    edges: frozenset[Edge]
    size: float
    """What it costs to assume it: larger parts must explain more."""


@dataclass(slots=True)
class Sighting:
    """Something slow: any of *edges* may be why. `bonus` are edges that departures point to."""

    edges: frozenset[Edge]
    weight: float = 1.0
    bonus: frozenset[Edge] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A part to blame, the sightings it explains, and whether another part would explain them as well."""

    part: Part
    sightings: tuple[int, ...]
    rivals: tuple[Part, ...]


def parts(job: JobState, edges: Collection[Edge]) -> list[Part]:
    """Return every part of the network that *edges* (between hosts) pass."""
    host = job.host_of
    groups: dict[tuple[str, object], list[Edge]] = defaultdict(list)
    for src, dst in edges:
        groups["link", (src, dst)].append((src, dst))
        groups["send", src].append((src, dst))
        groups["receive", dst].append((src, dst))
        groups["pair", (host(src), host(dst))].append((src, dst))
        groups["send host", host(src)].append((src, dst))
        groups["receive host", host(dst)].append((src, dst))
        for kind, value in _fabric(job, src, dst):
            groups[kind, value].append((src, dst))
    alike: dict[tuple[frozenset[Edge], str], list[tuple[str, object]]] = defaultdict(list)
    for (kind, what), mine in groups.items():
        covered = frozenset(mine)
        if kind == "link" or len(covered) > 1:
            alike[covered, _family(kind)].append((kind, what))
    return [_part(job, *_name(same), covered) for (covered, _), same in alike.items()]


def _name(same: list[tuple[str, object]]) -> tuple[str, object]:
    """Return one kind and name for what the same edges pass: of two leaves neither can be told from the other."""
    kind, what = same[0]
    return (kind, " or ".join(sorted(str(w) for _, w in same))) if kind in {"leaf", "rail"} else (kind, what)


def _family(kind: str) -> str:
    return kind.split(" ", maxsplit=1)[0]


def _fabric(job: JobState, src: int, dst: int) -> Iterable[tuple[str, str]]:
    one, other = job.ranks.get(src), job.ranks.get(dst)
    if one is None or other is None:
        return
    if one.leaf != other.leaf:
        for leaf in (one.leaf, other.leaf):
            if leaf:
                yield "leaf", leaf
    if one.rail and one.rail == other.rail:
        yield "rail", one.rail


def _part(job: JobState, kind: str, what: object, edges: frozenset[Edge]) -> Part:
    links = tuple(sorted(Link(s, d, job.host_of(s) or None, job.host_of(d) or None) for s, d in edges))
    if kind == "link":
        (src, dst), *_ = edges
        name = f"the path from rank {src} ({job.host_of(src)}) to rank {dst} ({job.host_of(dst)})"
        return Part(FaultClass.SLOW_LINK, Culprits(links=links), name, edges, 0.5)
    if kind == "pair":
        assert isinstance(what, tuple)
        return Part(FaultClass.SLOW_LINK, Culprits(links=links), f"the path from {what[0]} to {what[1]}", edges, 0.7)
    if kind in {"leaf", "rail"}:
        hosts = tuple(sorted({job.host_of(r) for edge in edges for r in edge if _behind(job, r, kind, what)} - {""}))
        return Part(FaultClass.SLOW_FABRIC, Culprits(hosts=hosts, links=links), f"{kind} {what}", edges, 1.5)
    fault = FaultClass.SLOW_SEND if kind.startswith("send") else FaultClass.SLOW_RECEIVE
    side = "transmit" if fault is FaultClass.SLOW_SEND else "receive"
    if kind.endswith("host"):
        ranks = tuple(job.hosts().get(str(what), ()))
        return Part(
            fault, Culprits(ranks=ranks, hosts=(str(what),), links=links), f"the {side} side of {what}", edges, 0.9
        )
    assert isinstance(what, int)
    host = job.host_of(what)
    culprits = Culprits(ranks=(what,), hosts=(host,) if host else (), links=links)
    return Part(fault, culprits, f"the {side} side of rank {what} ({host})", edges, 0.8)


def _behind(job: JobState, rank: int, kind: str, what: object) -> bool:
    facts = job.ranks.get(rank)
    return facts is not None and (facts.leaf if kind == "leaf" else facts.rail) == what


def explain(candidates: Sequence[Part], slow: Sequence[Sighting], steady: Sequence[frozenset[Edge]]) -> list[Verdict]:
    """Return the parts that explain what is slow, the one that explains most first.

    Args:
        candidates: Parts to choose from.
        slow: What is slow; each is explained by a part that holds one of its edges.
        steady: What is as quick as ever; a slow part would have shown in it.
    """
    left = set(range(len(slow)))
    verdicts: list[Verdict] = []
    counts = {p: sum(bool(s & p.edges) for s in steady) for p in candidates}
    while left and len(verdicts) < MOST:
        rated = sorted(((_value(p, slow, left, counts[p]), p) for p in candidates), key=lambda item: -item[0])
        if not rated or rated[0][0] <= 0:
            break
        value, best = rated[0]
        mine = tuple(sorted(k for k in left if slow[k].edges & best.edges))
        rivals = tuple(
            p for v, p in rated[1:] if value - v < 0.1 and {k for k in left if slow[k].edges & p.edges} == set(mine)
        )
        verdicts.append(Verdict(best, mine, rivals))
        left -= set(mine)
    return verdicts


def _value(part: Part, slow: Sequence[Sighting], left: set[int], against: int) -> float:
    mine = [slow[k] for k in left if slow[k].edges & part.edges]
    if not mine or len(mine) < SHARE * (len(mine) + against):
        return -1.0
    points = sum(s.weight + (0.4 if s.bonus & part.edges else 0.0) for s in mine)
    return points - FALSE * against - part.size
