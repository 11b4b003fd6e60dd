"""From what was recorded to the tables an agent sends, with the hosts' own clocks; and the truth beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offbeat.model import FaultClass
from offbeat.records import build
from offbeat.simulator.job import Job
from offbeat.simulator.recording import OPERATION, OPS, SPAN, SPANS, TRANSFER
from offbeat.simulator.signs import signs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from offbeat.simulator.faults import Fault
    from offbeat.simulator.spec import JobSpec

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
OF_NO_JOB = {"jobs", "hosts", "heartbeats"}
"""Tables that belong to machines, or say it already."""
AFTER_NS = 25 * SECOND
"""How long is still recorded after a fault that ends all progress."""


@dataclass(frozen=True, slots=True)
class Capture:
    """The tables of one simulated job, and what was done to it."""

    tables: dict[str, pa.Table]
    truth: dict[str, Any]

    def write(self, directory: Path) -> None:
        """Write one Parquet file a table, and `truth.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            pq.write_table(table, directory / f"{name}.parquet", compression="zstd")
        (directory / "truth.json").write_text(json.dumps(self.truth, indent=1) + "\n")


class Clocks:
    """The clocks of all hosts: true time to what a host writes down."""

    def __init__(self, spec: JobSpec, random: np.random.Generator) -> None:
        hosts = int(spec.host.max()) + 1
        self._host = spec.host
        self._offset = random.normal(0, spec.offset_ms * 1e6, hosts)
        self._rate = 1 + random.normal(0, spec.drift_ppm * 1e-6, hosts)

    def of_rank(self, rank: Any, at: Any) -> Any:
        """Return what the host of each rank shows at true time *at* (ns since the start), Unix ns."""
        return self.of_host(self._host[rank], at)

    def of_host(self, host: Any, at: Any) -> Any:
        """Return what each host shows at true time *at*."""
        return START + np.round(at * self._rate[host] + self._offset[host]).astype(np.int64)


def simulate(spec: JobSpec, faults: Sequence[Fault] = (), seed: int = 0) -> Capture:
    """Simulate a job and return its capture; the same arguments give the same capture."""
    job = Job(spec, tuple(faults), seed)
    job.run()
    return _capture(job, np.random.default_rng([seed, 1]))


def _capture(job: Job, random: np.random.Generator) -> Capture:
    spec, clocks = job.spec, Clocks(job.spec, random)
    ops = job.record.columns(OPERATION)
    finite = [a[np.isfinite(a)].max(initial=0.0) for a in (ops["enter"], ops["leave"])]
    end = max(finite) + (AFTER_NS if job.stopped_at is not None else 0)
    silent = {
        int(h): job.began[f.start] for f in job.faults if f.fault in {FaultClass.TELEMETRY_LOST, FaultClass.LOST_HOST}
        for h in spec.host[list(f.ranks)]
    }  # fmt: skip
    name = spec.name
    tables = {
        "jobs": build(
            "jobs", {"job": [name], "attempt": [0], "name": [name], "simulated": [True], "world": [spec.ranks]}
        ),
        "ranks": _ranks(spec),
        "hosts": _hosts(spec),
        "memberships": _memberships(job),
        "collectives": _collectives(job, ops, clocks, end, silent),
        "heartbeats": _heartbeats(spec, clocks, end, silent),
        "spans": _spans(job, clocks),
        **signs(job, clocks, end),
    }
    if spec.transfers:
        tables["transfers"] = _transfers(job, clocks, end)
    tables = {table: rows if table in OF_NO_JOB else _of_job(rows, name) for table, rows in tables.items()}
    faults = [_truth(job, fault, clocks) for fault in job.faults]
    truth = {"simulated": True, "job": name, "ranks": spec.ranks, "faults": faults}
    return Capture({table: rows for table, rows in tables.items() if rows.num_rows}, truth)


def _of_job(table: pa.Table, name: str) -> pa.Table:
    n = table.num_rows
    for column, values in (("job", pa.repeat(name, n)), ("attempt", pa.repeat(pa.scalar(0, pa.int32()), n))):
        at = table.column_names.index(column)
        table = table.set_column(at, table.schema.field(at), values)
    return table


def _ranks(spec: JobSpec) -> pa.Table:
    ranks, host = np.arange(spec.ranks), spec.host
    stage, dp, tp = np.unravel_index(ranks, spec.grid.shape)
    return build(
        "ranks",
        {
            "rank": ranks, "host": [spec.host_name(h) for h in host], "pid": 4000 + ranks, "gpu": ranks % spec.per_host,
            "nic": [f"mlx5_{g}" for g in ranks % spec.per_host], "rail": [f"rail{g}" for g in ranks % spec.per_host],
            "leaf": [f"leaf{h // spec.hosts_per_leaf}" for h in host], "tp": tp, "pp": stage, "dp": dp,
        },
    )  # fmt: skip


def _hosts(spec: JobSpec) -> pa.Table:
    hosts = range(int(spec.host.max()) + 1)
    nics = [
        [
            {"name": f"mlx5_{g}", "rail": f"rail{g}", "leaf": f"leaf{h // spec.hosts_per_leaf}"}
            for g in range(spec.per_host)
        ]
        for h in hosts
    ]
    return build("hosts", {"host": [spec.host_name(h) for h in hosts], "nics": nics})


def _memberships(job: Job) -> pa.Table:
    spec, groups = job.spec, job.groups
    sizes = [len(m) for m in groups.members]
    rank = np.concatenate(groups.members)
    comm = np.repeat(np.array(groups.names), sizes)
    return build(
        "memberships",
        {
            "comm": comm, "comm_rank": np.concatenate([np.arange(n) for n in sizes]),
            "n_ranks": np.repeat(sizes, sizes),
            "rank": rank, "host": [spec.host_name(h) for h in spec.host[rank]], "pid": 4000 + rank, "name": comm,
        },
    )  # fmt: skip


def _collectives(job: Job, ops: Mapping[str, Any], clocks: Clocks, end: float, silent: Mapping[int, float]) -> pa.Table:
    rank = ops["rank"].astype(np.int64)
    enter, leave = ops["enter"], ops["leave"]
    until = np.full(int(job.spec.host.max()) + 1, end)
    for host, at in silent.items():
        until[host] = at
    seen = until[job.spec.host[rank]]
    there = enter <= seen
    rank, enter, leave, seen = rank[there], enter[there], leave[there], seen[there]
    done = leave <= seen
    ended = clocks.of_rank(rank, np.where(done, leave, 0.0))
    observed = np.where(done, ended, clocks.of_rank(rank, seen))
    columns = {k: ops[k].astype(np.int64)[there] for k in ("comm", "seq", "p2p_seq", "peer", "op", "nbytes")}
    return build(
        "collectives",
        {
            "comm": pa.array(job.groups.names).take(pa.array(columns["comm"])), "rank": rank,
            "op": pa.array(OPS).take(pa.array(columns["op"])), "nbytes": columns["nbytes"],
            **{k: pa.array(columns[k], mask=columns[k] < 0) for k in ("seq", "p2p_seq", "peer")},
            "dtype": pa.repeat("bfloat16", len(rank)), "enqueued_at": clocks.of_rank(rank, enter),
            "ended_at": pa.array(ended, mask=~done), "observed_at": observed, "clock": pa.repeat("cpu", len(rank)),
            "state": pa.array(["enqueued", "completed"]).take(pa.array(done.astype(np.int64))),
            "source": pa.repeat("simulator", len(rank)),
        },
    )  # fmt: skip


def _transfers(job: Job, clocks: Clocks, end: float) -> pa.Table:
    rows = job.record.columns(TRANSFER)
    src, dst = rows["src"].astype(np.int64), rows["dst"].astype(np.int64)
    crossing = job.spec.host[src] != job.spec.host[dst]
    rows = {k: v[crossing] for k, v in rows.items()}
    src, dst = src[crossing], dst[crossing]
    done = np.isfinite(rows["ended"])
    stuck = ~np.isfinite(rows["wire"])
    steps = np.full(len(src), 16)
    posted = np.where(done, 16, np.where(stuck, 5, 4))
    finished = np.where(done, 16, 4)
    mask = ~done
    return build(
        "transfers",
        {
            "comm": pa.array(job.groups.names).take(pa.array(rows["comm"].astype(np.int64))),
            "seq": rows["seq"].astype(np.int64), "channel": np.zeros(len(src), np.int64), "src": src, "dst": dst,
            "side": pa.repeat("send", len(src)), "nbytes": rows["nbytes"].astype(np.int64),
            "started_at": clocks.of_rank(src, np.minimum(rows["began"], end)),
            "ended_at": pa.array(clocks.of_rank(src, np.where(done, rows["ended"], 0)), mask=mask),
            "wire_ns": pa.array(np.where(done, rows["wire"], 0).astype(np.int64), mask=mask),
            "credit_wait_ns": pa.array(np.where(done, rows["credit"], 0).astype(np.int64), mask=mask),
            "gpu_wait_ns": np.zeros(len(src), np.int64), "steps_total": steps, "steps_gpu_ready": np.where(done, 16, 8),
            "steps_posted": posted, "steps_done": finished,
        },
    )  # fmt: skip


def _heartbeats(spec: JobSpec, clocks: Clocks, end: float, silent: Mapping[int, float]) -> pa.Table:
    rows = [(h, t) for h in range(int(spec.host.max()) + 1) for t in np.arange(0, silent.get(h, end), SECOND)]
    host = np.array([h for h, _ in rows], np.int64)
    at = clocks.of_host(host, np.array([t for _, t in rows]))
    members = {h: np.nonzero(spec.host == h)[0].tolist() for h in set(host.tolist())}
    return build(
        "heartbeats",
        {
            "at": at, "host": [spec.host_name(h) for h in host], "incarnation": np.full(len(host), START),
            "ranks": [members[int(h)] for h in host], "interval_ns": np.full(len(host), SECOND),
        },
    )  # fmt: skip


def _spans(job: Job, clocks: Clocks) -> pa.Table:
    rows = job.record.columns(SPAN)
    rank = rows["rank"].astype(np.int64)
    return build(
        "spans",
        {
            "rank": rank, "step": rows["step"].astype(np.int64),
            "kind": pa.array(SPANS).take(pa.array(rows["kind"].astype(np.int64))),
            "started_at": clocks.of_rank(rank, rows["began"]), "ended_at": clocks.of_rank(rank, rows["ended"]),
        },
    )  # fmt: skip


def _truth(job: Job, fault: Fault, clocks: Clocks) -> dict[str, Any]:
    spec = job.spec
    begins = job.began[min(fault.start, len(job.began) - 1)]
    ends = job.began[fault.end] if fault.end is not None and fault.end < len(job.began) else None
    hosts = sorted({spec.host_name(int(spec.host[r])) for r in fault.ranks})
    return {
        "class": str(fault.fault), "ranks": list(fault.ranks), "hosts": hosts,
        "links": [{"src_rank": s, "dst_rank": d} for s, d in fault.links],
        "leaf": None if fault.leaf is None else f"leaf{fault.leaf}", "times": fault.times, "duty": fault.duty,
        "creeps": fault.creeps, "started_at": int(clocks.of_host(np.array(0), np.array(begins))),
        "ended_at": None if ends is None else int(clocks.of_host(np.array(0), np.array(ends))),
    }  # fmt: skip
