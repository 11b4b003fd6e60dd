"""Waits as a graph: each leads to those that hold up its missing members."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from offbeat.analyzer.postmortem.waits import Wait


class WaitGraph:
    """The waits of a set of dumps; `of_rank` lists those a rank is stuck in, `next` what holds a wait up."""

    def __init__(self, waits: Sequence[Wait]) -> None:
        self.waits = waits
        self.of_rank: dict[int, list[Wait]] = {}
        for wait in waits:
            for rank in wait.waiting:
                self.of_rank.setdefault(rank, []).append(wait)
        self.next = {wait: self._holders(wait) for wait in waits}
        self._previous: dict[Wait, set[Wait]] = {wait: set() for wait in waits}
        for wait, holders in self.next.items():
            for holder in holders:
                self._previous[holder].add(wait)

    def _holders(self, wait: Wait) -> set[Wait]:
        found: set[Wait] = set()
        for rank in wait.queued:
            mine = wait.waiting[rank].record
            found.update(w for w in self.of_rank[rank] if w.waiting[rank].record < mine)
        for rank in (*wait.absent, *wait.behind):
            found.update(self.of_rank.get(rank, ()))
        return found - {wait}

    def backwards(self, waits: Iterable[Wait]) -> set[Wait]:
        """Return *waits* and all that lead to them."""
        return _closure(waits, self._previous)

    def forwards(self, wait: Wait) -> set[Wait]:
        """Return *wait* and all that it leads to."""
        return _closure([wait], self.next)

    @cached_property
    def circles(self) -> dict[Wait, int]:
        """Each wait's strongly connected component: waits of one component lead to each other."""
        component: dict[Wait, int] = {}
        order: list[Wait] = []
        seen: set[Wait] = set()
        for start in self.waits:  # Kosaraju: finish order forwards, then collect backwards
            stack = [] if start in seen else [(start, iter(self.next[start]))]
            seen.add(start)
            while stack:
                wait, holders = stack[-1]
                fresh = next((h for h in holders if h not in seen), None)
                if fresh is None:
                    order.append(wait)
                    stack.pop()
                else:
                    seen.add(fresh)
                    stack.append((fresh, iter(self.next[fresh])))
        for number, start in enumerate(reversed(order)):
            todo = [] if start in component else [start]
            while todo:
                wait = todo.pop()
                if wait not in component:
                    component[wait] = number
                    todo += [w for w in self._previous[wait] if w not in component]
        return component


def _closure(start: Iterable[Wait], edges: dict[Wait, set[Wait]]) -> set[Wait]:
    seen = set(start)
    todo = list(seen)
    while todo:
        for wait in edges[todo.pop()] - seen:
            seen.add(wait)
            todo.append(wait)
    return seen
