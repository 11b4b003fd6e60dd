"""The state of one attempt of one job: records in, windows and facts kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offbeat.analyzer.engine.columns import NONE, floats, ints, words
from offbeat.analyzer.engine.comm_ranks import resolve
from offbeat.analyzer.engine.delays import Delays
from offbeat.analyzer.engine.edges import EdgeBook
from offbeat.analyzer.engine.facts import KEEP_NS, Exit, RankFacts, Rate
from offbeat.analyzer.engine.inputs import Inputs
from offbeat.analyzer.engine.intake import Intake
from offbeat.analyzer.engine.learning import Beats
from offbeat.analyzer.engine.normal import History
from offbeat.analyzer.engine.passes import KINDS as PASSES
from offbeat.analyzer.engine.passes import Passes
from offbeat.analyzer.engine.recorders import Recorders
from offbeat.analyzer.engine.roles import infer
from offbeat.analyzer.engine.stalls import Stalls
from offbeat.analyzer.engine.suspicion import Places
from offbeat.analyzer.engine.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from offbeat.analyzer.engine.comm import CommWindow, Signatures


STILL = {"stopped", "uninterruptible"}
"""Gauges that say that a process does nothing: by a signal, or held in the kernel, as a frozen one is."""

PATIENCE_NS = 3_000_000_000
"""How long operations wait for their communicator's members to be told; shorter, and half of them are missing."""

EPOCHS = 4
"""Epochs whose digests are kept; with fewer, a late replica's has nothing to be compared with."""

ROUTINE = {"data", "forward", "backward", "optimizer", "gc"}
"""Phases that every step has; the others are what a job does on purpose now and then, and may take long."""


class JobState:
    """Everything the rules may read about one attempt of a job."""

    def __init__(self, job: str, attempt: int) -> None:
        self.job, self.attempt = job, attempt
        self.world = 0
        self.simulated = False
        self.name = ""
        self.first_seen = 0
        self.last_seen = 0
        self.records = 0
        self.ranks: dict[int, RankFacts] = {}
        self.intake = Intake()
        self.rhythm = Beats()
        self.history = History()
        self.edges = EdgeBook()
        self.delays = Delays()
        self.stalls = Stalls()
        self.recorders = Recorders()
        self.inputs = Inputs()
        self.passes = Passes()
        self.tracker = Tracker(job, attempt)
        self.places = Places()
        self.alike: dict[Any, Any] = {}
        """Communicators that do the same, by family; kept by `transfers`."""
        self.digests: dict[tuple[int, str, str], dict[int, str]] = {}
        """Digests by rank of what must be equal: by epoch, slice and group of replicas."""
        self.since_step = 0
        """Steps before this are not judged: they hold an interruption."""
        self.cuts = 0
        """How often it was found anew what a step is."""
        self.phases: dict[int, str] = {}
        """Ranks that say they are in a phase of their own (checkpoint, eval), and which."""
        self._members: dict[str, dict[int, int]] = {}
        self._names: dict[str, str] = {}
        self._early: dict[str, list[pa.Table]] = {}
        self._early_since: dict[str, int] = {}
        self._roles: Any = None
        self._paths_seen = 0

    @property
    def windows(self) -> dict[str, CommWindow]:
        """The windows of communicators, by their word."""
        return self.intake.windows

    @property
    def paths(self) -> dict[tuple[str, int, int], CommWindow]:
        """The windows of paths: (communicator, source, destination)."""
        return self.intake.paths

    @property
    def signatures(self) -> Signatures:
        """What the signature numbers in the windows stand for."""
        return self.intake.signatures

    def learn(self, now: int) -> None:
        """Bring beats, steps and roles up to date with what came in."""
        self.settle(now)
        before = len(self.paths)
        if self.rhythm.learn(self):
            self._roles = None
            self.history.forget()
            self.since_step = 0
            self.cuts += 1
        for cycles in self.intake.cycles.values():
            cycles.fold()
        if self._roles is None or before != self._paths_seen:
            self._roles, self._paths_seen = infer(self), before

    @property
    def roles(self) -> Any:
        """A number per rank; ranks with the same one do the same work."""
        return self._roles

    def rank(self, rank: int) -> RankFacts:
        """Return the facts of *rank*, empty if it is new."""
        return self.ranks.setdefault(rank, RankFacts(rank))

    def host_of(self, rank: int) -> str:
        """Return the host of *rank*, "" while unknown."""
        return self.ranks[rank].host if rank in self.ranks else ""

    def hosts(self) -> dict[str, list[int]]:
        """Return the ranks of each host."""
        found: dict[str, list[int]] = {}
        for facts in self.ranks.values():
            if facts.host:
                found.setdefault(facts.host, []).append(facts.rank)
        return {h: sorted(r) for h, r in sorted(found.items())}

    def take(self, name: str, table: pa.Table, received_at: int) -> None:
        """Take the rows of one table, all of this attempt."""
        self.last_seen = max(self.last_seen, received_at)
        self.first_seen = self.first_seen or received_at
        self.records += table.num_rows
        handler = getattr(self, f"_take_{name}", None)
        if handler is not None:
            handler(table, received_at)

    def _take_jobs(self, table: pa.Table, _received_at: int) -> None:
        for row in table.to_pylist():
            self.world = max(self.world, row["world"])
            self.simulated = self.simulated or bool(row["simulated"])
            self.name = row["name"] or self.name

    def _take_ranks(self, table: pa.Table, received_at: int) -> None:
        for row in table.to_pylist():
            facts = self.rank(row["rank"])
            facts.host, facts.heard_at = row["host"], received_at
            facts.pid = row["pid"] if row["pid"] is not None else facts.pid
            facts.gpu, facts.nic, facts.rail, facts.leaf = row["gpu"], row["nic"], row["rail"], row["leaf"]
            facts.stage = row["pp"]

    def _take_memberships(self, table: pa.Table, received_at: int) -> None:
        for row in table.to_pylist():
            comm, rank = row["comm"], row["rank"]
            known = self._members.setdefault(comm, {})
            if row["members"]:
                known.update(enumerate(row["members"]))
            elif rank is not None:
                known[row["comm_rank"]] = rank
            if rank is not None and row["host"]:
                self.rank(rank).host = row["host"]
            self._names[comm] = row["name"] or comm
            if len(known) == row["n_ranks"]:
                self._open(comm, received_at)

    def _open(self, comm: str, received_at: int) -> None:
        """Make the window of a communicator of which enough is known, and take what waited for it."""
        if comm in self.windows:
            return
        known = self._members.get(comm, {})
        members = tuple(dict.fromkeys(known[k] for k in sorted(known)))
        self.intake.open_window(comm, members, self._names.get(comm, comm))
        self.world = max(self.world, max(members, default=-1) + 1)
        for early in self._early.pop(comm, []):
            self._take_collectives(early, received_at)
        self._early_since.pop(comm, None)

    def settle(self, now: int) -> None:
        """Open the communicators that go on without all memberships being told: with the members that are known."""
        for comm, since in list(self._early_since.items()):
            if now - since >= PATIENCE_NS:
                ranks = {int(r) for rows in self._early[comm] for r in np.unique(ints(rows, "rank"))}
                known = self._members.setdefault(comm, {})
                free = (k for k in range(1 << 31) if k not in known)
                known.update({next(free): r for r in sorted(ranks - set(known.values()))})
                self._open(comm, now)

    def _take_collectives(self, table: pa.Table, received_at: int) -> None:
        table = resolve(self.recorders.choose(table), ("peer", "root"), self._members)
        comms, index = words(table, "comm")
        unknown = [k for k, comm in enumerate(comms) if comm not in self.windows]
        for rank in np.unique(ints(table, "rank")):
            self.rank(int(rank)).heard_at = received_at
        self.intake.take(table)
        for k in unknown:
            # The membership may come a batch later than the first operations.
            waiting = self._early.setdefault(comms[k], [])
            self._early_since.setdefault(comms[k], received_at)
            rows = table.filter(pa.array(index == k) if len(comms) > 1 else pa.array(np.ones(len(index), bool)))
            collective = pc.is_null(rows.column("peer"))
            if len(waiting) < 1000 and pc.any(collective).as_py():
                waiting.append(rows.filter(collective))
            elif not waiting:
                del self._early[comms[k]], self._early_since[comms[k]]

    def _take_samples(self, table: pa.Table, _received_at: int) -> None:
        for row in table.to_pylist():
            self.rank(row["rank"]).samples.append((row["at"], row["kind"], row["where"], row["n"]))

    def _take_spans(self, table: pa.Table, _received_at: int) -> None:
        kinds, kind = words(table, "kind")
        ended = ints(table, "ended_at")
        data = (np.array([k == "data" for k in kinds], bool)[kind] if kinds else np.zeros(0, bool)) & (ended > 0)
        self.inputs.take(ints(table, "rank")[data], ints(table, "started_at")[data], ended[data])
        told = np.array([PASSES.index(k) if k in PASSES else -1 for k in kinds] or [-1], np.int64)[kind]
        mine = (told >= 0) & (ended > 0) & (ints(table, "step") >= 0)
        took = (ended - ints(table, "started_at"))[mine]
        self.passes.take(told[mine], ints(table, "rank")[mine], ints(table, "step")[mine], took)
        special = np.array([k not in ROUTINE for k in kinds], bool)[kind] if kinds else np.zeros(0, bool)
        for row in table.filter(pa.array(special)).to_pylist():
            if row["ended_at"] is None:
                self.phases[row["rank"]] = row["kind"]
            else:
                self.phases.pop(row["rank"], None)

    def _take_transfers(self, table: pa.Table, _received_at: int) -> None:
        table = resolve(table, ("src", "dst"), self._members)
        self.delays.take(table)
        self.stalls.take(table)

    def _take_digests(self, table: pa.Table, _received_at: int) -> None:
        for row in table.to_pylist():
            self.digests.setdefault((row["epoch"], row["slice"], row["replica_group"]), {})[row["rank"]] = row["digest"]
        known = sorted({epoch for epoch, _, _ in self.digests})
        for key in [k for k in self.digests if len(known) > EPOCHS and k[0] < known[-EPOCHS]]:
            # A difference is kept: it is the first sign that matters.
            if len(set(self.digests[key].values())) < 2:
                del self.digests[key]

    def _take_edges(self, table: pa.Table, _received_at: int) -> None:
        self.edges.add(table)

    def _take_gauges(self, table: pa.Table, _received_at: int) -> None:
        metrics, which = words(table, "metric")
        at, rank, value = ints(table, "at"), ints(table, "rank"), floats(table, "value")
        still: dict[int, bool] = {}
        for i in np.nonzero((rank != NONE) & np.isfinite(value))[0]:
            facts, metric = self.rank(int(rank[i])), metrics[which[i]]
            if metric in STILL:
                still[facts.rank] = still.get(facts.rank, False) or value[i] > 0
            else:
                facts.rates.setdefault(metric, Rate()).add(int(at[i]), float(value[i]))
        for number, stopped in still.items():
            self.rank(number).stopped = stopped

    def _take_events(self, table: pa.Table, received_at: int) -> None:
        for row in table.to_pylist():
            if row["rank"] is None:
                continue
            facts, kind = self.rank(row["rank"]), row["kind"]
            if kind == "process_exit" and facts.exit is None:
                message = row["message"] or facts.exception
                facts.exit = Exit(facts.rank, row["at"], row["code"], message, received_at)
            elif kind == "exception":
                facts.exception = row["message"] or ""
            elif kind in {"process_stopped", "process_running"}:
                facts.stopped = kind == "process_stopped"

    def exits(self) -> list[Exit]:
        """Return the processes that ended, first come first."""
        return sorted((f.exit for f in self.ranks.values() if f.exit), key=lambda e: e.at)

    @property
    def over(self) -> bool:
        """Whether every rank that was seen has ended."""
        return bool(self.ranks) and all(f.exit for f in self.ranks.values())

    def forget(self, now: int) -> None:
        """Drop what is too old to explain anything."""
        for facts in self.ranks.values():
            while facts.samples and facts.samples[0][0] < now - KEEP_NS:
                facts.samples.popleft()

    def seen_by(self, ranks: Iterable[int], since: int) -> set[int]:
        """Return those of *ranks* that were heard of since *since* (the service's clock)."""
        return {r for r in ranks if r in self.ranks and self.ranks[r].heard_at >= since}
