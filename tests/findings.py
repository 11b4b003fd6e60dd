"""Findings, jobs and batches for tests of what shows them."""

import time

import numpy as np

from offbeat import records, wire
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Finding, Severity
from offbeat.store import Beat, JobRank, JobRow, LatenessWindow

SECOND = 1_000_000_000


def finding(id_="slow.compute/5", *, job="train", at=None, ended_at=None, **changes):
    """Return a finding about rank 5."""
    at = time.time_ns() if at is None else at
    values = {
        "fault": FaultClass.SLOW_COMPUTE,
        "severity": Severity.WARNING,
        "summary": "Rank 5 on node1 computes 1.52 times as long as its peers.",
        "advice": Advice(Action.INSPECT, "its own time grew, transfers did not"),
        "culprits": Culprits(ranks=(5,), hosts=("node1",)),
        "victims": (0, 1, 2),
        "evidence": (Evidence("own_time", "Own time of rank 5 is 142 ms, of its peers 93 ms.", {"rank": 5}),),
        "slowdown": 1.52,
        "confidence": 0.97,
        "started_at": at - 8 * SECOND,
        "detected_at": at,
        "ended_at": ended_at,
        "job": job,
    }
    return Finding(id=id_, **{**values, **changes})


def put_job(store, id_="train", *, now=None, world=8, windows=20):
    """Let *store* know a job of *world* ranks on two hosts, its beat and lateness of the last *windows* seconds."""
    now = time.time_ns() if now is None else now
    half = world // 2
    ranks = tuple(JobRank(rank, f"node{rank // half}", 1000 + rank) for rank in range(world))
    row = JobRow(id_, 0, id_, world, False, "running", now - 600 * SECOND, now, 187_000_000, ("node0", "node1"), ranks)
    store.jobs.upsert(row)
    store.jobs.add_beats(id_, 0, [Beat(now - n * SECOND, 187_000_000 + n) for n in range(windows)])
    numbers = np.arange(world, dtype=np.int32)
    for n in range(windows):
        lateness = numbers.astype(np.float32) * 1e6
        lateness[0] = np.nan
        store.jobs.add_lateness(id_, 0, LatenessWindow(now - n * SECOND, SECOND, numbers, lateness, lateness * 0))
    return row


def batch(host="node0", *, rows=3, row_host=None):
    """Return a batch of gauges and a heartbeat of *host*, in wire form."""
    now, named = time.time_ns(), row_host or host
    tables = {
        "gauges": records.build(
            "gauges",
            {
                "job": ["train"] * rows,
                "attempt": [0] * rows,
                "at": [now + n for n in range(rows)],
                "host": [named] * rows,
                "metric": ["load1"] * rows,
                "value": [float(n) for n in range(rows)],
            },
        ),
        "heartbeats": records.build(
            "heartbeats",
            {
                "job": ["train"],
                "at": [now],
                "host": [named],
                "incarnation": [1],
                "ranks": [[0, 1]],
                "addresses": [["10.0.0.1"]],
            },
        ),
    }
    return wire.encode(tables)
