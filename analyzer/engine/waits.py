"""Who waits for whom while a job stands still, and whom nobody excuses: the roots of the hang.

A rank inside a collective waits for the members that have not come; a rank in a receive waits for the sender. Whoever
is waited for and waits for nobody is a root; everybody else is a victim. What all have entered and nobody leaves
stands still in transport, and so does a path on which both ends are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.analyzer.engine import overdue
from offbeat.analyzer.engine.p2p import waits

if TYPE_CHECKING:
    from offbeat.analyzer.engine.overdue import Overdue
    from offbeat.analyzer.engine.view import View

HELD_NS = 1_000_000_000
"""Age from which an operation that is not overdue yet holds a rank up, once another one is overdue."""


@dataclass(slots=True)
class Blame:
    """The graph of one hang, folded: ranks that are waited for, the roots among them, and what stands still."""

    blamed: set[int] = field(default_factory=set)
    roots: set[int] = field(default_factory=set)
    groups: list[Overdue] = field(default_factory=list)
    """Collectives that all members have entered."""
    paths: list[tuple[int, int]] = field(default_factory=list)
    """Sender and receiver of paths on which both are there."""


def blame(view: View, late: list[Overdue]) -> Blame:
    """Follow the waits from the overdue operations to their roots."""
    found = Blame()
    waiting: dict[int, set[int]] = {}
    names = {o.window.comm for o in late}
    held = [o for w in view.standing if w.comm not in names and (o := overdue.standing(w, HELD_NS))]
    for o in (*late, *held):
        absent = {*o.missing, *o.behind}
        found.blamed |= absent
        for rank in set(o.waiting) - absent:
            waiting.setdefault(rank, set()).update(absent)
        if not absent:
            found.groups.append(o)
            for rank in o.waiting:
                waiting.setdefault(rank, set())
    for rank, mine in waits(view.job).items():
        for wait in mine:
            # A send goes on by itself while its rank does other things.
            if wait.seen_at - wait.entered_at < HELD_NS or wait.op == "send":
                continue
            waiting.setdefault(rank, set())
            if wait.alone:
                waiting[rank].add(wait.peer)
                found.blamed.add(wait.peer)
            else:
                found.paths.append((wait.peer, rank))
    found.roots = {r for r in found.blamed if r not in waiting}
    if not found.roots and not found.groups and not found.paths:
        # All wait in a circle: who has left again what it entered last holds up the others with something else.
        found.roots = {r for r in found.blamed if not _inside(view, r)} or found.blamed
    return found


def _inside(view: View, rank: int) -> bool:
    """Tell whether the operation *rank* entered last is one it has not left."""
    newest, inside = 0, False
    for window in (*view.job.windows.values(), *view.job.paths.values()):
        column = window.column.get(rank)
        if column is None or window.entered[column] < 0:
            continue
        row = int(window.entered[column]) % window.capacity
        entered = int(window.enter[row, column])
        if entered > newest:
            newest, inside = entered, window.leave[row, column] == 0
    return inside
