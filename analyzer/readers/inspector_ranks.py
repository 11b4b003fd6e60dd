"""Global ranks and record tables from Inspector logs, which number ranks inside each communicator only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.analyzer.readers.inspector import CommKey, InspectorLog, Process, canonical
from offbeat.records import build

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = "nccl_inspector"


def global_ranks(log: InspectorLog) -> tuple[dict[int, int], str]:
    """Return process index → global rank, and a warning where these are not certain.

    The ranks of the largest communicator that every process belongs to are the job's. Without one, they are those of
    the largest communicator if they tell all processes apart; else processes are numbered by host and pid.
    """
    members: dict[int, dict[int, int]] = {}
    for (comm, process), place in log.places.items():
        members.setdefault(comm, {})[process] = place
    sizes = {index: key.size for key, index in log.comms.items()}
    everybody = [c for c, places in members.items() if len(places) == len(log.processes) and _distinct(places)]
    if everybody:
        best = max(everybody, key=lambda c: (sizes[c], log.names.get(c) == "default_pg", -c))
        return dict(members[best]), ""
    largest: dict[int, int] = {}
    for comm in sorted(members, key=lambda c: -sizes[c]):
        largest |= {process: place for process, place in members[comm].items() if process not in largest}
    if _distinct(largest):
        return largest, "no communicator holds all processes: ranks are those of each process's largest communicator"
    order = sorted(log.processes.items(), key=lambda item: (_natural(item[0].host), item[0].pid))
    return (
        {index: rank for rank, (_, index) in enumerate(order)},
        "no communicator holds all processes: ranks are numbered here by host and pid, and are not the job's own",
    )


def _distinct(places: Mapping[int, int]) -> bool:
    return len(set(places.values())) == len(places)


def _natural(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(p[:18]), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


def tables(log: InspectorLog, ranks: Mapping[int, int], job: str) -> dict[str, pa.Table]:
    """Return the record tables of *log* under the name *job*: ranks, memberships and collectives."""
    processes: dict[int, Process] = {index: process for process, index in log.processes.items()}
    comms: dict[int, CommKey] = {index: key for key, index in log.comms.items()}
    words = {index: key.word for index, key in comms.items()}
    order = sorted(processes, key=lambda p: ranks[p])
    places = sorted(log.places.items())
    return {
        "ranks": build(
            "ranks",
            {
                "job": [job] * len(order),
                "attempt": pa.array([0] * len(order), pa.int32()),
                "rank": pa.array([ranks[p] for p in order], pa.int32()),
                "host": [processes[p].host for p in order],
                "pid": pa.array([processes[p].pid for p in order], pa.int64()),
            },
        ),
        "memberships": build(
            "memberships",
            {
                "job": [job] * len(places),
                "attempt": pa.array([0] * len(places), pa.int32()),
                "comm": [words[c] for (c, _), _ in places],
                "comm_rank": pa.array([place for _, place in places], pa.int32()),
                "n_ranks": pa.array([comms[c].size for (c, _), _ in places], pa.int32()),
                "rank": pa.array([ranks[p] for (_, p), _ in places], pa.int32()),
                "host": [processes[p].host for (_, p), _ in places],
                "pid": pa.array([processes[p].pid for (_, p), _ in places], pa.int64()),
                "name": pa.array([log.names.get(c) for (c, _), _ in places], pa.string()),
            },
        ),
        "collectives": _collectives(log, ranks, words, job),
    }


def _collectives(log: InspectorLog, ranks: Mapping[int, int], words: Mapping[int, str], job: str) -> pa.Table:
    native = sorted(log.ops, key=lambda word: log.ops[word])
    ops, comm = np.array(log.op, np.int64), np.array(log.comm, np.int64)
    number = np.array(log.number, np.int64)
    pairwise = np.isin(ops, [i for i, word in enumerate(native) if canonical(word) in {"send", "recv"}])
    by_place = {(c, place): ranks[p] for (c, p), place in log.places.items()}
    peers = [by_place.get((c, p)) if p >= 0 else None for c, p in zip(log.comm, log.peer, strict=True)]
    rank_of = np.array([ranks[p] for p in range(len(log.processes))] or [0], np.int64)
    length = len(log)
    return build(
        "collectives",
        {
            "job": _repeat(job, length),
            "attempt": pa.array(np.zeros(length, np.int32)),
            "comm": _choose([words[c] for c in range(len(words))], comm),
            "rank": pa.array(rank_of[np.array(log.process, np.int64)].astype(np.int32)),
            "seq": pa.array(launch_order(log), pa.int64(), from_pandas=True),
            "fn_seq": pa.array(number, mask=pairwise),
            "p2p_seq": pa.array(number, mask=~pairwise),
            "op": _choose([canonical(word) for word in native], ops),
            "native_op": _choose(native, ops),
            "peer": pa.array(peers, pa.int32()),
            "nbytes": pa.array(np.array(log.nbytes, np.int64)),
            "state": _repeat("completed", length),
            "started_at": _known(log.started),
            "ended_at": _known(log.ended),
            "duration_ns": pa.array(np.array(log.duration, np.int64)),
            "observed_at": _known(log.seen),
            "clock": _choose(["cpu", "gpu"], np.array(log.kernel, np.int64)),
            "source": _repeat(SOURCE, length),
        },
    )


def launch_order(log: InspectorLog) -> Any:
    """Return a launch counter per row, NaN where the logs do not tell it.

    Inspector counts each function apart. Where start times are known and all members ran the same calls in the same
    order without a gap, their order is the order of launch, whichever call each log begins with.
    """
    seq = np.full(len(log), np.nan)
    comm, process = np.array(log.comm, np.int64), np.array(log.process, np.int64)
    started, number, ops = (np.array(c, np.int64) for c in (log.started, log.number, log.op))
    peer = np.array(log.peer, np.int64)
    for c in range(len(log.comms)):
        rows = np.nonzero((comm == c) & (peer < 0))[0]
        if not len(rows) or (started[rows] < 0).any():
            continue
        orders = []
        for p in np.unique(process[rows]):
            mine = rows[process[rows] == p]
            orders.append(mine[np.argsort(started[mine], kind="stable")])
        calls = [ops[order] * (1 << 40) + number[order] for order in orders]
        longest = max(calls, key=len)
        begins = [np.nonzero(longest == mine[0])[0] for mine in calls]  # logs begin, and end, at different calls
        if any(len(begin) != 1 for begin in begins):
            continue
        pieces = [longest[int(begin[0]) : int(begin[0]) + len(mine)] for begin, mine in zip(begins, calls, strict=True)]
        if all((piece == mine[: len(piece)]).all() for piece, mine in zip(pieces, calls, strict=True)):
            for begin, order in zip(begins, orders, strict=True):
                seq[order] = int(begin[0]) + np.arange(len(order))
    return seq


def _known(values: Any) -> pa.Array:
    column = np.array(values, np.int64)
    return pa.array(column, mask=column < 0)


def _repeat(word: str, length: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(length, np.int32)), [word]).cast(pa.string())


def _choose(words: list[str], index: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), words or [""]).cast(pa.string())
