"""Whether dumps were taken of a job that was running, so that what is open in them was simply under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from offbeat.analyzer.postmortem.blame import Root
    from offbeat.analyzer.readers.dumps import Dump

NEWEST = 64
"""Calls of each dump that tell its rhythm."""
TIMES_P99 = 3
"""A rank is in its rhythm while its last call is no older than so many times 99 % of its gaps, …"""
LEAST_NS = 50_000_000
"""… or than this; less, and the time that writing a dump takes is a hang."""
MOST_NS = 3_000_000_000
"""Not older than this in any case: a slow rhythm would otherwise excuse a hang that was dumped early."""
CROWD = 3
"""One rank in so many may stand still at different calls. More, and the dumps were taken at different moments."""
FEW = 3
"""So many may in any job, however small."""
PLACES = 2
"""Calls in which ranks stand still that are never too many: what they have in common may hold them all."""


def running(dumps: Sequence[Dump]) -> bool:
    """Tell whether the dumps were written, by their files' times, while their ranks were still in rhythm.

    Copied files have later times, and made ones any: both count as a job that stood still. Dumps without entries tell
    nothing of it, as long as they are the fewer.
    """
    told = [_in_rhythm(dump) for dump in dumps if dump.newest]
    return 2 * len(told) > len(dumps) and all(told)


def _in_rhythm(dump: Dump) -> bool:
    created = sorted(entry.created for entry in dump.entries[-NEWEST:] if entry.created is not None)
    gap = float(np.percentile(np.diff(created), 99)) if len(created) > 1 else 0.0
    bound = min(max(LEAST_NS, TIMES_P99 * gap), MOST_NS)
    return bool(dump.written) and 0 <= dump.written - dump.newest < bound


def crowded(roots: Iterable[Root], dumps: int) -> bool:
    """Tell whether the devices of too many ranks seem to stand still, each in another call, for one hang.

    Args:
        roots: The ranks that seem to have stopped.
        dumps: How many ranks left a dump.
    """
    held = [root.held for root in roots if root.held is not None]
    return len({(id(wait.comm), wait.seq) for wait in held}) > PLACES and len(held) > max(FEW, dumps // CROWD)
