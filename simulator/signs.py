"""What else an agent would have seen of a fault: exits, device counters and events, digests of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from offbeat.model import FaultClass
from offbeat.records import build

if TYPE_CHECKING:
    from offbeat.simulator.capture import Clocks
    from offbeat.simulator.faults import Fault
    from offbeat.simulator.job import Job

SECOND = 1_000_000_000
XID = 79
EVENT = ("at", "host", "rank", "device_kind", "device_id", "kind", "code", "message")
DIGEST = ("epoch", "slice", "replica_group", "rank", "digest")
HEALTHY = {
    "gpu_temperature_celsius": 62.0, "gpu_sm_clock_hz": 1.98e9, "gpu_power_watts": 640.0, "gpu_throttle_thermal": 0.0,
    "gpu_throttle_power": 0.0, "gpu_ecc_uncorrectable_total": 0.0, "gpu_ecc_correctable_total": 0.0,
    "gpu_pcie_width": 16.0, "gpu_pcie_width_max": 16.0, "gpu_pcie_replays_total": 0.0, "gpu_nvlink_errors_total": 0.0,
}  # fmt: skip
SICK: dict[FaultClass, dict[str, float]] = {
    FaultClass.DEVICE_THERMAL: {"gpu_temperature_celsius": 91.0, "gpu_sm_clock_hz": 1.2e9, "gpu_throttle_thermal": 1.0},
    FaultClass.DEVICE_POWER: {"gpu_power_watts": 400.0, "gpu_sm_clock_hz": 1.3e9, "gpu_throttle_power": 1.0},
    FaultClass.DEVICE_ECC: {"gpu_ecc_uncorrectable_total": 3.0},
    FaultClass.DEVICE_PCIE: {"gpu_pcie_width": 4.0},
    FaultClass.DEVICE_NVLINK: {"gpu_nvlink_errors_total": 500.0},
}
"""Gauges of a device from the moment its fault begins."""
SAID = {
    FaultClass.DEVICE_NIC: ("nic", "mlx5_0:1", "nic_link_flapped"),
    FaultClass.DEVICE_MEMORY: ("memory", "mc0", "edac"),
    FaultClass.DEVICE_DISK: ("disk", "nvme0n1", "nvme_error"),
}
"""What a device of the host says once: its kind, its name and the event."""


def signs(job: Job, clocks: Clocks, end: float) -> dict[str, pa.Table]:
    """Return the tables `events`, `gauges` and `digests`, empty where nothing has anything to say."""
    events: list[dict[str, Any]] = []
    for fault in job.faults:
        at = job.began[min(fault.start, len(job.began) - 1)]
        events += _events(job, fault, at, clocks)
    tables = {"events": build("events", _columns(events, EVENT))}
    if any(f.fault in SICK for f in job.faults):
        tables["gauges"] = _gauges(job, clocks, end)
    if any(f.fault is FaultClass.CORRUPTION_REPLICA for f in job.faults):
        tables["digests"] = _digests(job)
    return tables


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in names}


def _events(job: Job, fault: Fault, at: float, clocks: Clocks) -> list[dict[str, Any]]:
    spec, rows = job.spec, []
    for rank in fault.ranks:
        host = spec.host_name(int(spec.host[rank]))
        when = int(clocks.of_rank(np.array(rank), np.array(at + 0.2 * SECOND)))
        base = {"at": when, "host": host, "rank": rank}
        if fault.fault is FaultClass.LOST_RANK:
            rows.append({**base, "kind": "process_exit", "code": -9})
        elif fault.fault is FaultClass.WORKLOAD_ERROR:
            rows.append({**base, "kind": "exception", "message": "RuntimeError: shapes do not match"})
            rows.append({**base, "kind": "process_exit", "code": 1, "message": "RuntimeError: shapes do not match"})
        elif fault.fault is FaultClass.DEVICE_XID:
            device = {"device_kind": "gpu", "device_id": str(rank % spec.per_host)}
            rows.append({**base, **device, "kind": "xid", "code": XID, "message": "GPU has fallen off the bus"})
        elif fault.fault in SAID:
            kind, name, said = SAID[fault.fault]
            rows.append({**base, "rank": None, "device_kind": kind, "device_id": name, "kind": said})
    return rows


def _gauges(job: Job, clocks: Clocks, end: float) -> pa.Table:
    spec = job.spec
    times = np.arange(0, end, 5 * SECOND)
    ranks = np.arange(spec.ranks)
    rank, at = (a.reshape(-1) for a in np.meshgrid(ranks, times, indexing="ij"))
    parts: dict[str, list[Any]] = {"at": [], "rank": [], "metric": [], "value": []}
    random = np.random.default_rng(7)
    for metric, healthy in HEALTHY.items():
        steady = metric.endswith(("_total", "_width", "_width_max")) or "throttle" in metric
        value = np.full(len(rank), healthy) * (1.0 if steady else random.normal(1, 0.01, len(rank)))
        for fault in job.faults:
            sick = SICK.get(fault.fault, {}).get(metric)
            if sick is not None:
                value[np.isin(rank, fault.ranks) & (at >= job.began[min(fault.start, len(job.began) - 1)])] = sick
        parts["at"].append(clocks.of_rank(rank, at))
        parts["rank"].append(rank)
        parts["metric"].append(np.full(len(rank), metric))
        parts["value"].append(value)
    columns = {k: np.concatenate(v) for k, v in parts.items()}
    hosts = np.array([spec.host_name(int(h)) for h in spec.host])
    n = len(columns["at"])
    return build(
        "gauges",
        {
            **columns, "host": hosts[columns["rank"]], "device_kind": pa.repeat("gpu", n),
            "device_id": (columns["rank"] % spec.per_host).astype(str),
        },
    )  # fmt: skip


def _digests(job: Job) -> pa.Table:
    spec, rows = job.spec, []
    wrong = {r: f.start for f in job.faults if f.fault is FaultClass.CORRUPTION_REPLICA for r in f.ranks}
    for epoch in range(0, len(job.began), 10):
        for stage, replica, tensor in np.ndindex(*spec.grid.shape):
            rank = int(spec.grid[stage, replica, tensor])
            flipped = rank in wrong and epoch >= wrong[rank]
            digest = f"{epoch:04x}{stage:02x}{tensor:02x}" + ("f" if flipped else "0")
            group = f"s{stage}t{tensor}"
            rows.append(dict(zip(DIGEST, (epoch, "parameters", group, rank, digest), strict=True)))
    return build("digests", _columns(rows, DIGEST))
