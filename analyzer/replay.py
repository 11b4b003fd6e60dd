"""Recorded tables through the engine in event time: what the service would have said, and when.

An agent reports every operation at each poll while it lasts, then its end. A recording mostly holds the ends alone, so
operations that were under way at a moment are put before the engine as open ones, as an agent would have seen them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.analyzer.engine.columns import ints
from offbeat.analyzer.engine.engine import Engine
from offbeat.reducer import restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from offbeat.analyzer.engine.progress import Stretch
    from offbeat.model import Abstention, Finding

    Times = np.ndarray[Any, np.dtype[np.int64]]

STEP_NS = 500_000_000
"""Event time between two looks; the service looks as often."""
MAX_STEPS = 400_000
"""Looks at most (two days of event time): wrong clocks in a recording would otherwise keep it busy for ever."""
GAP_NS = 60_000_000_000
"""Event time without any record that is skipped: nothing can change in it."""
SHORTEST_NS = 1_000_000
"""Least length of an iteration when they are counted: a recording with wrong times would have millions a second."""
_TIMES = {
    "transfers": ("ended_at", "started_at"),
    "spans": ("ended_at", "started_at"),
    "steps": ("at",),
    "samples": ("at",),
    "edges": ("at",),
    "gauges": ("at",),
    "events": ("at",),
    "heartbeats": ("at",),
}
"""Table → columns that say when a row was known, the first that is not null."""
_FOREVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class Replay:
    """What the engine said; `iterations` are lengths of the job's iterations, ns."""

    findings: dict[tuple[str, int, str], Finding] = field(default_factory=dict)
    abstained: list[Abstention] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    since: int = 0
    until: int = 0


@dataclass(slots=True)
class _Stream:
    """A table in order of time, `at` per row, with how far it was given out."""

    table: pa.Table
    at: Times
    given: int = 0

    def until(self, now: int) -> pa.Table:
        stop = int(np.searchsorted(self.at, now, side="right"))
        rows = self.table.slice(self.given, stop - self.given)
        self.given = stop
        return rows


class _Open:
    """The operations under way at a moment."""

    def __init__(self, table: pa.Table, last: int) -> None:
        self._table = table
        enter, end, seen = _entered(table), ints(table, "ended_at"), ints(table, "observed_at")
        until = np.where(end > 0, end, np.where(seen > 0, seen, last))
        entered = enter > 0
        self._by_enter = np.nonzero(entered)[0][np.argsort(enter[entered], kind="stable")]
        self._enter, self._end, self._until = enter, end, until
        self._next = 0
        self._active: list[int] = []

    def at(self, now: int) -> pa.Table:
        """Return the operations that an agent would report as open at *now*."""
        while self._next < len(self._by_enter) and self._enter[self._by_enter[self._next]] <= now:
            self._active.append(int(self._by_enter[self._next]))
            self._next += 1
        self._active = [
            i for i in self._active if self._until[i] > now or (self._end[i] <= 0 and self._until[i] == now)
        ]
        rows = self._table.take(pa.array(self._active, pa.int64()))
        count = rows.num_rows
        for name, values in (
            ("ended_at", pa.nulls(count, pa.int64())),
            ("observed_at", pa.array(np.full(count, now))),
            ("state", pa.array(["enqueued"] * count, pa.string())),
        ):
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)
        return rows


def replay(tables: Mapping[str, pa.Table]) -> Replay:
    """Feed *tables* (fitted to the registry, every row with a job) to a new engine, slice by slice."""
    outcome, engine = Replay(), Engine()
    tables = _restored(tables)
    streams, always = _streams(tables)
    times = [s.at for s in streams.values()]
    if "collectives" in tables:
        times += [_entered(tables["collectives"]), ints(tables["collectives"], "observed_at")]
    moments = np.sort(np.concatenate([*times, np.zeros(0, np.int64)]))
    moments = moments[moments > 0]
    if not len(moments):
        return outcome
    outcome.since, outcome.until = int(moments[0]), int(moments[-1])
    open_ = _Open(tables["collectives"], outcome.until) if "collectives" in tables else None
    now = outcome.since
    engine.ingest(always, now)
    for _ in range(MAX_STEPS):
        batch = {name: stream.until(now) for name, stream in streams.items()}
        waiting = 0
        if open_ is not None:
            under_way = open_.at(now)
            waiting = under_way.num_rows
            batch["collectives"] = pa.concat_tables([batch["collectives"], under_way])
        engine.ingest({name: rows for name, rows in batch.items() if rows.num_rows}, now)
        _look(engine, now, outcome)
        if now >= outcome.until:
            break
        now = min(now + STEP_NS if waiting else _later(moments, now), outcome.until)
    else:
        outcome.warnings.append(f"only the first {MAX_STEPS * STEP_NS // 3_600_000_000_000} hours were looked at")
    outcome.abstained = list(engine.abstained.values())
    outcome.iterations = _iterations(outcome.stretches)
    return outcome


def _restored(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {}
    for name, table in tables.items():
        for of, part in restore(name, table):
            parts.setdefault(of, []).append(part)
    return {name: pa.concat_tables(found) for name, found in parts.items()}


def _look(engine: Engine, now: int, outcome: Replay) -> None:
    for finding in engine.evaluate(now):
        outcome.findings[finding.job, finding.attempt, finding.id] = finding
    outcome.stretches += engine.stretches()


def _iterations(stretches: Sequence[Stretch]) -> list[int]:
    """Return the lengths of iterations; before it was known what one is, they count by the length they have since."""
    cuts: dict[tuple[str, int], list[Stretch]] = {}
    for stretch in stretches:
        newest = cuts.setdefault((stretch.job, stretch.attempt), [])
        if newest and newest[-1].cut != stretch.cut:
            newest.clear()
        newest.append(stretch)
    found: list[int] = []
    for stretch in stretches:
        mine = cuts[stretch.job, stretch.attempt]
        known = stretch.cut == mine[-1].cut
        length = stretch.iteration_ns if known else int(np.median([s.iteration_ns for s in mine]))
        found += [length] * max(1, round(stretch.span_ns / max(length, SHORTEST_NS)))
    return found


def _later(times: Times, now: int) -> int:
    """Return the time of the next look: a step on, or at the next record after a long silence."""
    following = int(np.searchsorted(times, now, side="right"))
    if following < len(times) and times[following] - now > GAP_NS:
        return int(times[following])
    return now + STEP_NS


def _streams(tables: Mapping[str, pa.Table]) -> tuple[dict[str, _Stream], dict[str, pa.Table]]:
    streams, always = {}, {}
    for name, table in tables.items():
        if name == "collectives":
            table = table.filter(pa.array(ints(table, "ended_at") > 0))  # noqa: PLW2901 - `_Open` gives out the rest
            at = ints(table, "ended_at")
        elif name in _TIMES:
            at = np.zeros(table.num_rows, np.int64)
            for column in reversed(_TIMES[name]):
                values = ints(table, column)
                at = np.where(values > 0, values, at)
        else:
            always[name] = table
            continue
        order = np.argsort(at, kind="stable")
        streams[name] = _Stream(table.take(pa.array(order)), at[order])
    return streams, always


def _entered(table: pa.Table) -> Times:
    enqueued, started = ints(table, "enqueued_at"), ints(table, "started_at")
    return np.where(enqueued > 0, enqueued, started)
