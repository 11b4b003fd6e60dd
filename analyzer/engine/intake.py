"""Where operations go: the windows of communicators and paths, and the steps of their ranks.

A path is what one rank sends another in one direction; it is looked at like a communicator of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.analyzer.engine.columns import NONE, ints, words
from offbeat.analyzer.engine.comm import CommWindow, Signature, Signatures
from offbeat.analyzer.engine.cycles import Cycles
from offbeat.analyzer.engine.family import Family, Places
from offbeat.analyzer.engine.steps import Steps
from offbeat.reducer import OwnTimes

if TYPE_CHECKING:
    import pyarrow as pa

    Ints = np.ndarray[Any, np.dtype[np.int64]]

RANKS = 1 << 24
"""More ranks than any job has; keys are communicator times this plus rank."""
SEQS = 1 << 40
"""More operations than any communicator makes; keys are place times this plus sequence number."""
PAIRWISE = {"send", "recv"}
UNEVEN = {"all_to_all", "gather", "scatter", "send", "recv", "send_recv"}
"""Operations whose members have sizes of their own."""
SIGNATURES = 20_000
"""Kinds of operations that are told apart; a job whose sizes change all the time has no end of them."""


class _Rows(NamedTuple):
    """Operations: place and number of the communicator, rank, sequence number, times (ns) and signature."""

    place: Ints
    number: Ints
    rank: Ints
    seq: Ints
    enter: Ints
    leave: Ints
    seen: Ints
    signature: Ints


class Intake:
    """All operations of one attempt of a job, by communicator, path and rank."""

    def __init__(self) -> None:
        self.signatures = Signatures()
        self.windows: dict[str, CommWindow] = {}
        self.paths: dict[tuple[str, int, int], CommWindow] = {}
        self.families: dict[tuple[str, int], Family] = {}
        """By kind (comm, path) and size."""
        self.cycles: dict[tuple[str, int], Cycles] = {}
        self.steps = Steps()
        self._own = OwnTimes()
        self._numbers: dict[Any, int] = {}
        self._by_number: list[CommWindow] = []
        self._keys: list[Ints] = []
        self._index: tuple[Ints, Ints, Ints, Ints] | None = None
        self._family_of: list[tuple[str, int]] = []
        self._marker: tuple[Ints, Ints, Ints] = (np.zeros(0, np.int64),) * 3

    def open_window(self, comm: str, members: tuple[int, ...], name: str) -> CommWindow:
        """Make the window of a communicator."""
        self.windows[comm] = window = self._open(comm, members, name, ("comm", max(len(members), 1)))
        return window

    def _open(self, key: Any, members: tuple[int, ...], name: str, family_key: tuple[str, int]) -> CommWindow:
        if family_key not in self.families:
            self.families[family_key] = Family(family_key[1])
            self.cycles[family_key] = Cycles(self.families[family_key])
        window = CommWindow(key if isinstance(key, str) else key[0], members, name, self.families[family_key])
        number = self._numbers[key] = len(self._by_number)
        self._by_number.append(window)
        self._family_of.append(family_key)
        self._keys.append(number * RANKS + np.array(members, np.int64))
        self._index = None
        self.steps.fit(max(members, default=-1) + 1)
        return window

    def _lookup(self, keys: Ints) -> tuple[Ints, Any]:
        """Return each key's place, and which keys have one."""
        if self._index is None:
            every = np.concatenate(self._keys)
            order = np.argsort(every)
            sizes = [len(k) for k in self._keys]
            number = np.repeat(np.arange(len(sizes)), sizes)
            column = np.concatenate([np.arange(n) for n in sizes])
            self._index = (every[order], order, number, column)
        every, order, _, _ = self._index
        at = np.minimum(np.searchsorted(every, keys), len(every) - 1)
        return order[at], every[at] == keys

    def standing(self) -> list[CommWindow]:
        """Return the windows of communicators in which somebody has entered an operation and not left it."""
        waiting = {key: family.waiting() for key, family in self.families.items() if key[0] == "comm" and key[1] > 1}
        return [w for w in self.windows.values() if len(w.members) > 1 and waiting["comm", w.family.size][w.number]]

    def number_of(self, key: Any) -> int:
        """Return the number of a communicator (its word) or path (communicator, src, dst)."""
        return self._numbers[key]

    def set_markers(self, comm: Ints, length: Ints, anchor: Ints) -> bool:
        """Say which communicator begins the steps of each rank.

        Args:
            comm: Per rank, its number; -1 for none.
            length: Per rank, how many of its operations a step has.
            anchor: Per rank, the sequence number of the first that begins one.

        Returns:
            Whether steps are cut otherwise than before, beyond where they begin.
        """
        old = self._marker
        n = min(len(old[0]), len(comm))
        changed = np.ones(len(comm), bool)
        changed[:n] = np.any([a[:n] != b[:n] for a, b in zip(old, (comm, length, anchor), strict=True)], axis=0)
        self._marker = (comm, length, anchor)
        self.steps.fit(len(comm))
        self.steps.restart(np.nonzero(changed)[0])
        return n == 0 or any((a[:n] != b[:n]).any() for a, b in zip(old[:2], (comm, length), strict=True))

    def take(self, rows: pa.Table) -> None:
        """Take rows of the `collectives` table whose communicators are open."""
        comms, comm = words(rows, "comm")
        ops, op = words(rows, "op")
        rank, peer, seen = ints(rows, "rank"), ints(rows, "peer"), ints(rows, "observed_at")
        enter, leave = _times(rows)
        pairwise = np.isin(op, [k for k, o in enumerate(ops) if o in PAIRWISE]) & (peer != NONE)
        seq = np.where(pairwise, ints(rows, "p2p_seq"), ints(rows, "seq"))
        number = np.array([self._numbers.get(c, -1) for c in comms], np.int64)[comm]
        if pairwise.any():
            sends = np.isin(op, [k for k, o in enumerate(ops) if o == "send"])
            number[pairwise] = self._paths_of(comms, comm[pairwise], rank[pairwise], peer[pairwise], sends[pairwise])
        place, known = self._lookup(np.maximum(number, 0) * RANKS + np.maximum(rank, 0)) if self._keys else (rank, None)
        if known is None:
            return
        good = known & (number >= 0) & (seq >= 0) & (enter > 0) & (rank >= 0)
        # Of several copies in one batch the last is kept: one that ended, else the one seen last.
        order = np.nonzero(good)[0]
        order = order[np.lexsort((seen[order], leave[order] > 0, place[order] * SEQS + seq[order]))]
        key = place[order] * SEQS + seq[order]
        order = order[np.concatenate([key[1:] != key[:-1], [True]])[: len(key)]]
        if len(order):
            signature = self._signatures_of(rows.take(order), ops, op[order])
            held = [a[order] for a in (place, number, rank, seq, enter, leave, seen)]
            self._put(_Rows._make([*held, signature]))

    def _put(self, rows: _Rows) -> None:
        assert self._index is not None
        column = self._index[3][rows.place]
        kinds = list(self.families)
        kind_of = np.array([kinds.index(k) for k in self._family_of], np.int64)
        inside = np.array([w.number for w in self._by_number], np.int64)
        new, ended = np.zeros(len(rows.seq), bool), np.zeros(len(rows.seq), bool)
        for k, family in enumerate(self.families.values()):
            mine = np.nonzero(kind_of[rows.number] == k)[0]
            if len(mine):
                at = Places(inside[rows.number[mine]], column[mine], rows.seq[mine])
                new[mine], ended[mine] = family.add(
                    at, rows.enter[mine], rows.leave[mine], rows.seen[mine], rows.signature[mine]
                )
        events = self._own.take((rows.rank[new], rows.enter[new]), (rows.rank[ended], rows.leave[ended]))
        count = int(new.sum())
        mark, wait = np.full(len(events.rank), -1, np.int64), np.zeros(len(events.rank), np.int64)
        mark[:count] = self._marks(rows.number[new], rows.rank[new], rows.seq[new])
        # A send goes on by itself while its rank does other things: nobody waits in it.
        sends = np.array([k[0] == "path" for k in kinds], bool)[kind_of[rows.number]] & (column == 0)
        wait[count:] = np.where(sends, 0, rows.leave - rows.enter)[ended]
        self.steps.take(events, mark[events.order], wait[events.order])

    def _marks(self, number: Ints, rank: Ints, seq: Ints) -> Ints:
        comm, length, anchor = self._marker
        out = np.full(len(rank), -1, np.int64)
        known = np.nonzero(rank < len(comm))[0]
        r, s = rank[known], seq[known]
        begins = (comm[r] == number[known]) & (length[r] > 0) & (s >= anchor[r])
        begins &= (s - anchor[r]) % np.maximum(length[r], 1) == 0
        k = known[begins]
        out[k] = (seq[k] - anchor[rank[k]]) // length[rank[k]]
        return out

    def _paths_of(self, comms: list[str], comm: Ints, rank: Ints, peer: Ints, sends: Any) -> Ints:
        src, dst = np.where(sends, rank, peer), np.where(sends, peer, rank)
        distinct, inverse = np.unique(np.stack([comm, src, dst], axis=1), axis=0, return_inverse=True)
        numbers = np.empty(len(distinct), np.int64)
        for k, (c, s, d) in enumerate(distinct):
            key = (comms[c], int(s), int(d))
            if key not in self.paths:
                self.paths[key] = self._open(key, (int(s), int(d)), f"{s} to {d}", ("path", 2))
            numbers[k] = self._numbers[key]
        return numbers[inverse.reshape(-1)]

    def _signatures_of(self, rows: pa.Table, ops: list[str], op: Ints) -> Ints:
        # Sizes that members need not share, and that may be new each time, say nothing here and would fill the memory.
        free = [k for k, name in enumerate(ops) if name in UNEVEN]
        nbytes = np.where(np.isin(op, free) | (len(self.signatures.known) > SIGNATURES), -1, ints(rows, "nbytes"))
        dtypes, dtype = words(rows, "dtype")
        packed = np.stack([op, nbytes, dtype], axis=1)
        order = np.lexsort(packed.T)
        changed = np.concatenate([[True], (packed[order][1:] != packed[order][:-1]).any(axis=1)])
        distinct = packed[order][changed]
        numbers = np.array([self.signatures.of(Signature(ops[o], int(b), dtypes[d])) for o, b, d in distinct], np.int64)
        out = np.empty(len(op), np.int64)
        out[order] = numbers[np.cumsum(changed) - 1]
        return out


def _times(rows: pa.Table) -> tuple[Ints, Ints]:
    """Return when each operation was entered and left, ns; 0 or less where it was not, or has not ended."""
    started, enqueued, ended = (ints(rows, name) for name in ("started_at", "enqueued_at", "ended_at"))
    enter = np.where(enqueued > 0, enqueued, started)
    # A device runs what the host launched long before: what it began is when the rank was there.
    clocks, clock = words(rows, "clock")
    # One that has not begun yet holds up the others, wherever its host may be: the rank has not come.
    on_device = np.isin(clock, [k for k, c in enumerate(clocks) if c == "gpu"])
    enter = np.where(on_device, np.maximum(started, 0), enter)
    length = ints(rows, "duration_ns")
    return enter, np.where((ended <= 0) & (length >= 0) & (enter > 0), enter + length, ended)
