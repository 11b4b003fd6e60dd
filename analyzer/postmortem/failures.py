"""Calls that failed although their dump shows them finished.

gloo marks a call that timed out, or whose connection broke, like one that ended well. Such a call is the last thing
its rank did, and some member never entered it: nobody can have finished that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from offbeat.analyzer.postmortem.communicators import Communicator, Part
    from offbeat.analyzer.readers.dumps import Dump, Entry

MOMENT_NS = 1_000_000_000
"""How long after the call the absent member's dump must have been written; one written before it tells nothing, and
the dumps of a running job are written within moments of each other."""


def reopen(comms: Iterable[Communicator], dumps: Mapping[int, Dump], trusted: set[int]) -> bool:
    """Turn failed calls back into open ones; tell whether there were any."""
    doubtful: list[tuple[Part, Entry]] = []
    failed: list[tuple[Part, Entry]] = []
    for comm in comms:
        for rank, part in comm.parts.items():
            entry = part.ops.get(part.launched) if part.launched is not None else None
            if part.ordered or rank not in trusted or entry is None or entry.open:
                continue
            if entry.record < max(e.record for e in dumps[rank].entries):
                continue
            others = [other for other in comm.members if other != rank]
            if any(_absent(comm, other, entry, dumps) for other in others if other in trusted):
                failed.append((part, entry))
            elif any(other not in dumps for other in others):
                doubtful.append((part, entry))
    # A member without a dump proves nothing by itself, but explains where something did fail.
    for part, entry in failed + doubtful if failed else ():
        entry.open = entry.gave_up = True
        part.waits = [entry]
        part.done = entry.seq - 1
    return bool(failed)


def _absent(comm: Communicator, rank: int, entry: Entry, dumps: Mapping[int, Dump]) -> bool:
    """Whether *rank* had not entered *entry* although its dump was written well after."""
    part, written = comm.parts.get(rank), dumps[rank].written
    if part is None or part.launched is None or part.launched >= entry.seq:
        return False
    return not (written and entry.created is not None and written - entry.created < MOMENT_NS)
