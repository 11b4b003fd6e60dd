"""Which slot a trainer may write next: pure rules, so that they can be checked against every history."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from offbeat.recovery.memory.epoch import Epoch


class Held(NamedTuple):
    """What is known of one slot."""

    epoch: Epoch | None
    """What it holds, sealed; None where that is nothing."""
    foreign: bool
    """Another process may still write into it."""


class NoSlotError(Exception):
    """No slot may be written now; the snapshot is skipped, and the message says why."""


def choose(slots: Sequence[Held], protected: Collection[Epoch], whole: Epoch | None) -> int:
    """Return the slot to write.

    One that holds nothing comes first, then the oldest. Never one that holds a protected epoch (committed, being coded,
    or pinned for a restore), nor the newest step that all ranks have sealed, where this host can know: should the
    trainers die while the next is written, that is what they resume from.

    Args:
        slots: The slots of one rank.
        protected: Epochs that must stay.
        whole: The newest epoch sealed by all ranks that this host can see.

    Raises:
        NoSlotError: None of them may be.
    """
    free = [index for index, slot in enumerate(slots) if not slot.foreign]
    if not free:
        raise NoSlotError("an older process of this rank still holds the slots")
    empty = [index for index in free if slots[index].epoch is None]
    if empty:
        return empty[0]
    old = [(epoch, i) for i in free if (epoch := slots[i].epoch) and epoch not in protected and epoch != whole]
    if not old:
        raise NoSlotError("every slot holds an epoch that must stay until a newer one is committed")
    return min(old)[1]
