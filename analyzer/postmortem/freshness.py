"""Which dumps are older than what the others saw: dumps are not taken at one moment, and old ones get left about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.analyzer.postmortem.signatures import synchronising

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from offbeat.analyzer.postmortem.communicators import Communicator, Part
    from offbeat.analyzer.readers.dumps import Entry


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
        usual = all(synchronising(op) for op in known.values())
        finished, witness = max(((_proven(part, known, usual=usual), part.rank) for part in parts), default=(-1, -1))
        for part in parts:
            if part.launched is not None and part.launched < finished and part.rank not in old:
                old[part.rank] = (
                    f"rank {witness} had finished call {finished} of {comm.label}, which rank {part.rank} had not "
                    f"yet entered (its last was {part.launched})"
                )
    return old


def _proven(part: Part, known: Mapping[int, Entry], *, usual: bool) -> int:
    """Return the newest call that *part* certainly finished together with all members, -1 for none.

    Args:
        part: The member.
        known: Calls of the communicator by number, as any member recorded them.
        usual: Whether all known calls are of the kind that members finish together.
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
    return done if done in known or usual else -1
