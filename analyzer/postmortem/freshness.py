"""Which dumps are older than what the others saw: dumps are not taken at one moment, and old ones get left about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem.signatures import synchronising

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from offbeat.analyzer.postmortem.communicators import Communicator, Part
    from offbeat.analyzer.readers.dumps import Dump, Entry

BROADCASTS = 16
"""Calls that may have been broadcasts where no member recorded them: a root, and who hears it, may finish so many in
a row before a late member enters the first. Smaller, and a rank that stopped before one passes for an older dump."""

EARLIER_NS = 60_000_000_000
"""By how much a dump that is proven older must be, for its rank to count as one without a dump: the dumps of one hang
are taken within seconds of each other."""


def outdated(comms: Iterable[Communicator]) -> dict[int, str]:
    """Return the ranks whose dump is older than another's, each with the proof.

    A member cannot finish an all-reduce that another has not entered. If a dump says that it did, the other's dump
    was taken before.
    """
    old: dict[int, str] = {}
    for comm in comms:
        parts = [part for part in comm.parts.values() if part.launched is not None]
        known = {seq: op for part in parts for seq, op in part.ops.items()}
        if not known:  # its counters may count transfers
            continue
        finished, witness = max(((_proven(part, known), part.rank) for part in parts), default=(-1, -1))
        for part in parts:
            if part.launched is not None and part.launched < finished and part.rank not in old:
                old[part.rank] = (
                    f"rank {witness} had finished call {finished} of {comm.label}, which rank {part.rank} had not "
                    f"yet entered (its last was {part.launched})"
                )
    return old


def earlier(dumps: Sequence[Dump]) -> set[int]:
    """Return the ranks whose dump ends long before any other's last moment: it was left by an earlier run."""
    newest = sorted(dump.newest for dump in dumps if dump.newest)
    usual = newest[len(newest) // 2] if newest else 0
    return {dump.rank for dump in dumps if dump.newest and usual - dump.newest > EARLIER_NS}


def _proven(part: Part, known: Mapping[int, Entry]) -> int:
    """Return the newest call that *part* certainly finished together with all members, negative for none.

    Args:
        part: The member.
        known: Calls of the communicator by number, as any member recorded them.
    """
    if part.done is None:
        return -1
    done = part.done
    # gloo marks a call that failed as finished: only one that the rank went on from certainly ended well.
    while done >= 0 and not part.ordered and done + 1 not in part.ops:
        done -= 1
        if done not in part.ops:
            return -1
    while done in known and not synchronising(known[done]):
        done -= 1
    return done if done in known else done - BROADCASTS
