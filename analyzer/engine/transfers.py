"""How much longer the transfers of communicators and paths take than normal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust

if TYPE_CHECKING:
    from offbeat.analyzer.engine.comm import CommWindow
    from offbeat.analyzer.engine.view import FamilyView, View

    Floats = np.ndarray[Any, np.dtype[np.float64]]

GROWTH, CLEAR_GROWTH = 0.05, 0.2
"""Share by which transfer must grow to be slower, and to be clearly so; below it, the job's own bursts are a fault."""
FELT_SHARE, CLEAR_SHARE = 0.001, 0.03
"""Growth as a share of the healthy step from which a job feels it, and clearly so; else it is no fault."""
PEERS, APART, SPREADS = 6, 0.1, 6.0
"""Communicators that do the same from which one is judged by the others; share and spreads by which it must differ."""
CREPT = 1.02
"""How far the usual may move away from that of the oldest stretches; further, and what creeps becomes usual."""
ERRORS = 4.0
"""Wanders of the healthy transfer that growth must exceed; fewer make the machine's moods a fault."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The transfers of one communicator or path: ns a step, now and normally."""

    window: CommWindow
    kind: str
    now: float
    usual: float
    slower: bool
    felt: bool
    clearly: bool
    steady: bool
    """Whether it clearly is as quick as ever."""
    shift: Floats
    """Per member by how much later it leaves than it used to, against the typical member, ns an operation."""
    operations: float
    """Operations a step."""

    @property
    def more(self) -> float:
        """How much longer it takes, ns a step."""
        return self.now - self.usual


def growths(view: View) -> list[Growth]:
    """Return all communicators and paths whose transfers are known now and normally, if any is slower; else nothing."""
    if view.steps is None:
        return []
    rows = [_Row(view, key, family) for key, family in view.families.items()]
    return [g for row in rows for g in row.growths()] if any(row.slower.any() for row in rows) else []


class _Row:
    """The transfers of one family: now, usually, and by how much more they must take to count as slower."""

    def __init__(self, view: View, key: Any, family: FamilyView) -> None:
        assert view.steps is not None
        normal, count = view.normal, len(family.windows)
        self.kind, self.family = key[0], family
        self.step = normal.length if normal is not None else view.steps.length
        self.now = family.now.transfer * family.per_step
        usual, wander = np.full(count, np.nan), np.zeros(count)
        self.depart = np.zeros(family.now.depart.shape)
        if normal is not None and key in normal.families:
            usual = _fit(normal.families[key].transfer, count)
            self.depart = np.nan_to_num(_fit(normal.families[key].depart, count))
            wander = np.nan_to_num(_fit(normal.paths_wander[key], count))
            if key in normal.paths_origin:
                usual = np.fmin(usual, CREPT * _fit(normal.paths_origin[key], count))
        typical, apart = _peers(view, key, family, self.now)
        with np.errstate(invalid="ignore"):
            by_chance = robust.sigmas(count) * family.error * family.per_step
            least = np.maximum(np.maximum(GROWTH * usual, ERRORS * wander), by_chance)
            # Without a healthy past, or with one that was sick already, those that do the same are the measure.
            sick = ~(usual <= typical + apart) & np.isfinite(typical)
            self.usual, self.least = np.where(sick, typical, usual), np.where(sick, apart, least)
            self.slower = self.now - self.usual > self.least

    def growths(self) -> list[Growth]:
        """Return what is known of each communicator, as its growth."""
        more = self.now - self.usual
        with np.errstate(invalid="ignore"):
            steady = more < self.least / 3
            felt = self.slower & (more > FELT_SHARE * self.step)
            clearly = self.slower & (more > np.maximum(CLEAR_GROWTH * self.usual, CLEAR_SHARE * self.step))
        found = []
        for k in np.nonzero(np.isfinite(more))[0]:
            window = self.family.windows[k]
            length = max(int(self.family.cycles.length[window.number]), 1)
            shift = (self.family.now.depart[k] - self.depart[k]) / length
            found.append(
                Growth(
                    window, self.kind, float(self.now[k]), float(self.usual[k]), bool(self.slower[k]), bool(felt[k]),
                    bool(clearly[k]), bool(steady[k]), shift - np.median(shift),
                    length * float(self.family.per_step[k]),
                )
            )  # fmt: skip
        return found


def _peers(view: View, key: Any, family: FamilyView, now: Floats) -> tuple[Floats, Floats]:
    """Return per communicator the transfer of those that do the same, and how far one may be off."""
    job = view.job
    version = (job.rhythm.version, len(family.windows), len(job.ranks))
    if key not in job.alike or job.alike[key][0] != version:
        job.alike[key] = (version, _alike(view, family))
    typical, apart = np.full(len(now), np.nan), np.full(len(now), np.nan)
    for mine in job.alike[key][1]:
        known = now[mine][np.isfinite(now[mine])]
        if len(known) >= PEERS:
            typical[mine] = np.median(known)
            apart[mine] = max(APART * float(np.median(known)), SPREADS * float(robust.spread(known[:, None])[0]))
    return typical, apart


def _alike(view: View, family: FamilyView) -> list[Any]:
    """Return the places of communicators that do the same over as many hosts, each group as an array."""
    groups: dict[Any, list[int]] = defaultdict(list)
    rhythm, host = view.job.rhythm, view.job.host_of
    for k, (word, window) in enumerate(zip(family.words, family.windows, strict=True)):
        beat = rhythm.known.get(word)
        if beat is not None and beat.pattern:
            members = window.members
            crossing = sum(host(a) != host(b) for a, b in zip(members, members[1:] + members[:1], strict=True))
            groups[beat.pattern, rhythm.cycle[word], crossing].append(k)
    return [np.array(g) for g in groups.values() if len(g) >= PEERS]


def _fit(values: Floats, count: int) -> Floats:
    """Return *values* for *count* communicators, NaN for those that came later."""
    if len(values) >= count:
        return values[:count]
    return np.concatenate([values, np.full((count - len(values), *values.shape[1:]), np.nan)])
