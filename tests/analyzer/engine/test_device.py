"""Devices that speak against themselves, alone and together with the trouble they make."""

from __future__ import annotations

import pytest

from offbeat.model import Device, FaultClass, Severity
from offbeat.records import build

SECOND = 1_000_000_000
WELL = {
    "gpu_throttle_thermal": 0, "gpu_throttle_power": 0, "gpu_sm_clock_hz": 1.98e9, "gpu_pcie_width": 16,
    "gpu_pcie_width_max": 16, "gpu_ecc_uncorrectable_total": 2, "gpu_nvlinks": 18, "gpu_nvlinks_active": 18,
    "gpu_nvlink_errors_total": 7, "gpu_pcie_replays_total": 3,
}  # fmt: skip


def gauges(job, sick=None, rank=3, *, kind="gpu", well=WELL):
    """Return readings of one device a rank, some of one rank's being other than those of a healthy one."""
    rows = []
    for r in range(job.job.world):
        values = {**well, **(sick or {})} if r == rank else well
        rows += [(r, metric, float(value)) for metric, value in values.items()]
    n = len(rows)
    return build(
        "gauges",
        {
            "job": ["j"] * n, "attempt": [1] * n, "at": [job.job.now] * n,
            "host": [job.job.host(r) for r, _, _ in rows],
            "rank": [r if kind == "gpu" else None for r, _, _ in rows], "device_kind": [kind] * n,
            "device_id": ["0"] * n, "metric": [m for _, m, _ in rows], "value": [v for _, _, v in rows],
        },
    )  # fmt: skip


def event(job, kind, code=None, device="gpu", rank=3):
    """Return one event of a device on a rank's host."""
    return build(
        "events",
        {
            "job": ["j"], "attempt": [1], "at": [job.job.now], "host": [job.job.host(rank)],
            "rank": [rank if device == "gpu" else None], "device_kind": [device], "device_id": ["0"], "kind": [kind],
            "code": [code], "message": ["as the driver put it"],
        },
    )  # fmt: skip


def readings(job, sick, **options):
    """Let the job run for a while with healthy devices, then with a sick one."""
    job.tell(gauges=gauges(job, **options))
    job.run(4)
    for _ in range(3):
        job.tell(gauges=gauges(job, sick, **options))
        job.run(2)
    return job.engine.findings()


@pytest.mark.parametrize(
    ("sick", "fault"),
    [
        ({"gpu_throttle_thermal": 1, "gpu_sm_clock_hz": 1.2e9}, FaultClass.DEVICE_THERMAL),
        ({"gpu_throttle_power": 1, "gpu_sm_clock_hz": 1.3e9}, FaultClass.DEVICE_POWER),
        ({"gpu_pcie_width": 4}, FaultClass.DEVICE_PCIE),
        ({"gpu_pcie_replays_total": 90}, FaultClass.DEVICE_PCIE),
        ({"gpu_ecc_uncorrectable_total": 3}, FaultClass.DEVICE_ECC),
        ({"gpu_nvlinks_active": 17}, FaultClass.DEVICE_NVLINK),
        ({"gpu_nvlink_errors_total": 5000}, FaultClass.DEVICE_NVLINK),
    ],
)
def test_a_sick_gpu_is_named(bench, sick, fault):
    """What one GPU reports and its peers do not is its own illness, with the rank that computes on it."""
    (finding,) = readings(bench(), sick)
    assert (finding.fault, finding.culprits.ranks) == (fault, (3,))
    assert finding.culprits.devices == (Device("h3", "gpu", "0"),)


@pytest.mark.parametrize(
    "sick",
    [
        {"gpu_throttle_power": 1},
        {"gpu_nvlink_errors_total": 20},
        {"gpu_pcie_replays_total": 5},
    ],
)
def test_what_healthy_gpus_do_too_is_no_illness(bench, sick):
    """At full load GPUs are at their power limit, and single errors of a link are corrected."""
    assert readings(bench(), sick) == []


def test_an_adapter_that_slows_down_is_named(bench):
    """An adapter that had 400 Gbit/s and has 100 now is named with its host, its rank not being known."""
    (finding,) = readings(bench(), {"nic_speed_bps": 1e11}, kind="nic", well={"nic_speed_bps": 4e11})
    assert (finding.fault, finding.culprits.hosts) == (FaultClass.DEVICE_NIC, ("h3",))


@pytest.mark.parametrize(
    ("kind", "code", "device", "fault", "severity"),
    [
        ("xid", 79, "gpu", FaultClass.DEVICE_XID, Severity.CRITICAL),
        ("xid", 63, "gpu", FaultClass.DEVICE_XID, Severity.WARNING),
        ("edac", 1, "memory", FaultClass.DEVICE_MEMORY, Severity.CRITICAL),
        ("nvme_error", None, "disk", FaultClass.DEVICE_DISK, Severity.WARNING),
        ("nic_link_flapped", 2, "nic", FaultClass.DEVICE_NIC, Severity.WARNING),
        ("pcie_error", None, "gpu", FaultClass.DEVICE_PCIE, Severity.WARNING),
    ],
)
def test_what_drivers_say(bench, kind, code, device, fault, severity):
    """An event of a driver or of the kernel is told at once, with its words."""
    job = bench()
    job.tell(events=event(job, kind, code, device))
    (finding,) = job.run(1)
    assert (finding.fault, finding.severity) == (fault, severity)
    assert finding.culprits.devices == (Device("h3", device, "0"),)


@pytest.mark.parametrize("code", [13, 31, 43, 45])
def test_the_program_s_own_xids_accuse_no_gpu(bench, code):
    """A bad address in a kernel, and what follows from an earlier error, say nothing against the GPU."""
    job = bench()
    job.tell(events=event(job, "xid", code))
    assert job.run(2) == []


def test_a_throttled_gpu_and_its_slow_rank_are_one_incident(bench):
    """The rank is slow because its GPU is hot: the throttle is the class, the slowness its evidence."""
    job = bench()
    job.job.slow[3] = 1.5
    found = readings(job, {"gpu_throttle_thermal": 1, "gpu_sm_clock_hz": 1.2e9})
    (finding,) = found or job.run(6)
    assert (finding.fault, finding.culprits.ranks) == (FaultClass.DEVICE_THERMAL, (3,))
    assert {"device", "own_time"} <= {e.kind for e in finding.evidence}


def test_an_incident_goes_on_when_its_cause_is_learned_later(bench):
    """A rank known to be slow whose GPU then turns out to be hot stays one incident, of another class."""
    job = bench()
    job.tell(gauges=gauges(job))
    job.job.slow[3] = 1.5
    (first,) = job.run(12)
    for _ in range(4):
        job.tell(gauges=gauges(job, {"gpu_throttle_thermal": 1, "gpu_sm_clock_hz": 1.2e9}))
        job.run(2)
    (now,) = job.engine.findings()
    assert (first.fault, now.fault, now.id) == (FaultClass.SLOW_COMPUTE, FaultClass.DEVICE_THERMAL, first.id)


def test_another_rank_s_slowness_is_not_the_device_s(bench):
    """A hot GPU on one host does not explain a slow rank on another."""
    job = bench()
    job.job.slow[5] = 1.5
    found = readings(job, {"gpu_throttle_thermal": 1, "gpu_sm_clock_hz": 1.2e9})
    job.run(8)
    assert {f.fault for f in [*found, *job.engine.findings()]} == {FaultClass.DEVICE_THERMAL, FaultClass.SLOW_COMPUTE}
