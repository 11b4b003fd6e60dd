"""Members that entered one collective with different calls, and who of them is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from offbeat.analyzer.postmortem.signatures import describe, disagreement, signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator
    from offbeat.analyzer.readers.dumps import Entry

LOOK_BACK = 64
"""Newest calls of a communicator that are compared: an older disagreement would have stopped the job earlier."""
CONTEXT = 16
"""Calls before the disagreement that are looked for earlier in the sequence, to tell what should have come next."""
MISALIGNED = 0.2
"""Share of finished calls that disagree above which the members' numbers do not mean the same calls at all."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One disagreement. `deviants` are empty when nothing tells who is wrong; `finished`: the job went on from it."""

    comm: Communicator
    seq: int
    what: str
    calls: tuple[tuple[str, tuple[int, ...]], ...]
    deviants: tuple[int, ...]
    why: str
    confidence: float
    finished: bool


class _Difference(NamedTuple):
    seq: int
    entered: dict[int, Entry]
    what: str
    groups: dict[object, list[int]]


def find(comms: Sequence[Communicator], trusted: set[int]) -> tuple[list[Mismatch], list[Communicator]]:
    """Return the first disagreement of each communicator, and those whose numbers do not line up.

    Args:
        comms: All communicators.
        trusted: Ranks whose dump is up to date.
    """
    found, misaligned = [], []
    for comm in comms:
        mismatch, aligned = _first(comm, comms, trusted)
        if not aligned:
            misaligned.append(comm)
        elif mismatch is not None:
            found.append(mismatch)
    return found, misaligned


def _first(comm: Communicator, comms: Sequence[Communicator], trusted: set[int]) -> tuple[Mismatch | None, bool]:
    parts = [part for rank, part in comm.parts.items() if rank in trusted and part.ops]
    if len(parts) < 2:
        return None, True
    seqs = sorted({seq for part in parts for seq in part.ops})[-LOOK_BACK:]
    last = max(seqs)
    differing: list[_Difference] = []
    compared = 0
    for seq in seqs:
        entered = {part.rank: part.ops[seq] for part in parts if seq in part.ops}
        if len(entered) < 2:
            continue
        compared += 1
        if (difference := disagreement(entered, len(comm.members))) is not None:
            differing.append(_Difference(seq, entered, *difference))
    if not differing:
        return None, True
    settled = [d for d in differing if d.seq < last - 1 and not any(op.open for op in d.entered.values())]
    if len(settled) > max(2, MISALIGNED * compared):
        return None, False
    habits = {d.what for d in settled} if len(settled) > 1 else set()
    # What this job has often got away with is not what stopped it.
    first = next((d for d in differing if d.what not in habits), None)
    return (None if first is None else _judge(comm, comms, first)), True


def _judge(comm: Communicator, comms: Sequence[Communicator], difference: _Difference) -> Mismatch:
    seq, entered, what, groups = difference
    by_size = sorted(groups.values(), key=lambda ranks: (-len(ranks), ranks))
    if len(by_size[0]) > len(by_size[1]):
        right: list[int] | None = by_size[0]
        why = f"{len(right or [])} of {len(entered)} members agree"
        confidence = 0.95
    else:
        tied = [ranks for ranks in by_size if len(ranks) == len(by_size[0])]
        right, why = _tie(comm, comms, seq, entered, tied)
        confidence = 0.85
    deviants = sorted(rank for ranks in by_size if ranks is not right for rank in ranks) if right else []
    calls = tuple((describe(entered[ranks[0]]), tuple(ranks)) for ranks in by_size)
    if right and (shift := _shift(comm, seq, right, deviants)):
        why = f"{why}; {shift}"
    finished = not any(op.open for op in entered.values()) and not any(part.waits for part in comm.parts.values())
    return Mismatch(comm, seq, what, calls, tuple(deviants), why, confidence if right else 0.9, finished)


def _tie(
    comm: Communicator, comms: Sequence[Communicator], seq: int, entered: dict[int, Entry], tied: list[list[int]]
) -> tuple[list[int] | None, str]:
    """Return who is right where as many say one thing as another: as like groups do, or as was done before."""
    said = {signature(entered[ranks[0]]): ranks for ranks in tied}
    before = [part.ops.get(seq - 1) for part in comm.parts.values()]
    previous = {signature(op) for op in before if op is not None}
    like: set[tuple[object, ...]] = set()
    for other in comms:
        if other is comm or other.desc != comm.desc or len(other.members) != len(comm.members):
            continue
        pairs = [(part.ops.get(seq - 1), part.ops.get(seq)) for part in other.parts.values()]
        like |= {signature(b) for a, b in pairs if a is not None and b is not None and signature(a) in previous}
    agreed = [said[s] for s in like if s in said]
    if len(like) == 1 and agreed:
        return agreed[0], f"the other {comm.label} communicators entered this call at {seq}"
    expected = _expected(comm, seq)
    if expected in said:
        return said[expected], "that is what followed the same calls before"
    return None, "as many members entered the one as the other, and nothing recorded tells which was due"


def _expected(comm: Communicator, seq: int) -> tuple[object, ...] | None:
    """Return the call that followed, without exception, wherever the calls before *seq* occurred earlier."""
    history: list[tuple[object, ...]] = []
    for part in comm.parts.values():
        at, calls = seq - 1, []
        while at in part.ops:
            calls.append(signature(part.ops[at]))
            at -= 1
        if len(calls) > len(history):
            history = calls
    history.reverse()
    for length in range(min(CONTEXT, len(history) - 1), 0, -1):
        context = history[-length:]
        followers = {history[i + length] for i in range(len(history) - length) if history[i : i + length] == context}
        if len(followers) == 1:
            return followers.pop()
        if followers:
            return None
    return None


def _shift(comm: Communicator, seq: int, right: list[int], deviants: list[int]) -> str:
    """Say whether a deviant's calls are the others' shifted by one: a call left out, or one too many."""
    model = {s: signature(op) for s, op in comm.parts[right[0]].ops.items() if s >= seq}
    for rank in deviants:
        own = {s: signature(op) for s, op in comm.parts[rank].ops.items() if s >= seq}
        if _same(own, model, 1):
            return f"rank {rank}'s calls from there on are the others' next ones: it left one out"
        if _same(model, own, 1):
            return f"rank {rank}'s calls after it are the others' from there on: it made one too many"
    return ""


def _same(early: dict[int, tuple[object, ...]], late: dict[int, tuple[object, ...]], by: int) -> bool:
    """Whether the calls of *early* are those that *late* has one number later."""
    pairs = [(call, late[s + by]) for s, call in early.items() if s + by in late]
    return bool(pairs) and all(a == b for a, b in pairs)
