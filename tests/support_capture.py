"""Made captures: what agents would have recorded of a small data-parallel job."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offbeat.records import build

START_NS = 1_795_378_762_000_000_000
MS = 1_000_000
COMM = "default@1234abcd"


def tables(*, ranks=4, calls=300, own_ms=80.0, late=None, stop=None, tail_ms=0, job=None, seed=0):
    """Return record tables of a job that calls one all_reduce an iteration.

    *late* is rank -> (first call, ms); *stop* is (rank, call) from which that rank enters nothing more, after which
    the others' open call was watched for *tail_ms*.
    """
    random = np.random.default_rng(seed)
    rows = {name: [] for name in ("rank", "seq", "started_at", "ended_at", "observed_at", "state")}
    free = np.full(ranks, START_NS)
    for seq in range(calls):
        own = own_ms * MS + random.normal(0, 0.5 * MS, ranks)
        for rank, (first, by) in (late or {}).items():
            own[rank] += by * MS if seq >= first else 0
        enter = free + own.astype(np.int64)
        absent = stop[0] if stop and seq == stop[1] else None
        end = int(enter.max()) + 5 * MS
        for rank in range(ranks):
            if rank == absent:
                continue
            open_ = absent is not None
            values = (rank, seq, int(enter[rank]), None if open_ else end, (end + tail_ms * MS) if open_ else end, None)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
        if absent is not None:
            break
        free = np.full(ranks, end)
    count = len(rows["rank"])
    rows["state"] = ["enqueued" if end is None else "completed" for end in rows["ended_at"]]
    named = {} if job is None else {"job": [job] * count, "attempt": pa.array([0] * count, pa.int32())}
    everybody = list(range(ranks))
    shared = {} if job is None else {"job": [job] * ranks, "attempt": pa.array([0] * ranks, pa.int32())}
    hosts = [f"node{rank // 2}" for rank in everybody]
    return {
        "ranks": build("ranks", shared | {"rank": pa.array(everybody, pa.int32()), "host": hosts}),
        "memberships": build(
            "memberships",
            shared
            | {
                "comm": [COMM] * ranks,
                "comm_rank": pa.array(everybody, pa.int32()),
                "n_ranks": pa.array([ranks] * ranks, pa.int32()),
                "rank": pa.array(everybody, pa.int32()),
                "host": hosts,
            },
        ),
        "collectives": build(
            "collectives",
            named
            | {
                "comm": [COMM] * count,
                "op": ["all_reduce"] * count,
                "nbytes": [1 << 20] * count,
                "dtype": ["float"] * count,
                **{name: pa.array(values, None if name == "state" else pa.int64()) for name, values in rows.items()},
            }
            | {"rank": pa.array(rows["rank"], pa.int32())},
        ),
    }


def write(folder, made):
    """Write tables as a capture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in made.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return folder
