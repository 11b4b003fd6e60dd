"""Signs of illness: what one device's readings and events say against it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_high, median_low
from typing import TYPE_CHECKING

from offbeat.analyzer.engine.devices import FULL
from offbeat.collector import xids
from offbeat.model import Action, Evidence, FaultClass, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from offbeat.analyzer.engine.devices import DeviceFacts, Said

SECOND = 1_000_000_000
FRESH_NS = 30 * SECOND
"""Age from which a reading says nothing of now."""
MINUTE = 60 * SECOND
RECENT_NS = 600 * SECOND
"""How long an event is held against a device; shorter, and what follows from it is another incident."""
REPLAYS = 8
"""PCIe replays a minute from which a link is suspect, as in DCGM's health check."""
ERRORS = 100
"""Errors of an NVLink or of a cable a minute likewise: single ones are corrected and normal."""
APART = 10
"""By how many times a device must have more errors than its peers; what all have is no device's fault."""
HELD_DOWN = 0.85
"""Clock, as a share of the peers', from which a power limit explains slowness: at full load all are at the limit."""
INNOCENT = {"application", "follow_up"}
"""Groups of XIDs that say nothing against the GPU: the program's own doing, or what follows from another error."""
MILD = {"none", "restart_application", "look_for_the_earlier_error"}


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that is wrong with a device; `hold_ns` is how long it must last to be believed."""

    fault: FaultClass
    severity: Severity
    text: str
    evidence: Evidence
    why: str
    action: Action = Action.INSPECT
    since: int | None = None
    hold_ns: int = 0
    sticky: bool = False


def signs(facts: DeviceFacts, peers: Peers, now: int) -> list[Sign]:
    """Return what is wrong with a device at *now* (Unix ns), worst first.

    Args:
        facts: The device.
        peers: Devices of the same kind in the same job, itself among them.
        now: The time.
    """
    found = [s for check in CHECKS.get(facts.device.kind, ()) for s in check(facts, peers, now)]
    rank = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
    order = list(FaultClass)
    return sorted(found, key=lambda s: (rank.index(s.severity), order.index(s.fault)))


class Peers:
    """What is typical of the devices of one kind in a job; worked out when asked for, once a metric."""

    def __init__(self, devices: Sequence[DeviceFacts]) -> None:
        self._devices = devices
        self._typical: dict[str, float | None] = {}
        self._rise: dict[str, float] = {}

    def typical(self, metric: str, now: int) -> float | None:
        """Return the typical newest value of *metric*, None where nobody has any."""
        if metric not in self._typical:
            values = [v for d in self._devices if (v := _state(d, metric, now)) is not None]
            self._typical[metric] = median_high(values) if values else None
        return self._typical[metric]

    def rise(self, metric: str, now: int) -> float:
        """Return by how much the counter *metric* typically grew in the last minute."""
        if metric not in self._rise:
            self._rise[metric] = median_low([d.rise(metric, now - MINUTE) for d in self._devices])
        return self._rise[metric]


def _state(facts: DeviceFacts, metric: str, now: int) -> float | None:
    known = facts.since(metric, now - FRESH_NS)
    return known[-1].value if known else None


def _lasts(facts: DeviceFacts, metric: str, now: int) -> int | None:
    """Return since when a flag is set in every reading, None where it is not or only in the newest of several."""
    since, count = None, 0
    for reading in reversed(facts.since(metric, now - RECENT_NS)):
        if reading.value <= 0:
            break
        since, count = reading.at, count + 1
    return since if since is not None and (count > 1 or len(facts.readings[metric]) == 1) else None


def _rising(facts: DeviceFacts, peers: Peers, metric: str, least: float, now: int) -> float:
    """Return by how much a counter grew in a minute, 0 where that is little, or no more than elsewhere."""
    grown = facts.rise(metric, now - MINUTE)
    return grown if grown >= max(least, APART * peers.rise(metric, now)) else 0


def _sign(
    fault: FaultClass, severity: Severity, text: str, why: str, since: int | None = None, *, hold_ns: int = 0
) -> Sign:
    return Sign(fault, severity, text, Evidence("device", text, {}), why, since=since, hold_ns=hold_ns)


def _throttles(facts: DeviceFacts, peers: Peers, now: int) -> list[Sign]:
    clock, usual = _state(facts, "gpu_sm_clock_hz", now), peers.typical("gpu_sm_clock_hz", now)
    most = facts.newest("gpu_sm_clock_max_hz") or usual
    at = f"; its clock is {clock / 1e6:.0f} MHz" if clock else ""
    at += f" of {most / 1e6:.0f}" if clock and most else ""
    found = []
    hot = _lasts(facts, "gpu_throttle_thermal", now)
    if hot is not None:
        heat = _state(facts, "gpu_temperature_celsius", now)
        degrees = f" at {heat:.0f} °C" if heat is not None else ""
        text = f"is held down for heat{degrees}{at}"
        found.append(
            _sign(FaultClass.DEVICE_THERMAL, Severity.WARNING, text, "look at its cooling: air, fans, coolant", hot)
        )
    brake = _lasts(facts, "gpu_throttle_power_brake", now)
    if brake is not None:
        text = f"is held down by the power brake{at}"
        found.append(_sign(FaultClass.DEVICE_POWER, Severity.WARNING, text, "the power supply asks for less", brake))
    capped = _lasts(facts, "gpu_throttle_power", now)
    if capped is not None and clock and usual and clock < HELD_DOWN * usual and not hot:
        text = f"is held down for power{at}, while its peers run at {usual / 1e6:.0f}"
        found.append(_sign(FaultClass.DEVICE_POWER, Severity.WARNING, text, "look at its power supply", capped))
    return found


def _memory(facts: DeviceFacts, _peers: Peers, now: int) -> list[Sign]:
    found = []
    errors = facts.rise("gpu_ecc_uncorrectable_total", now - RECENT_NS)
    if errors:
        text = f"had {errors:.0f} uncorrectable memory errors"
        found.append(_sign(FaultClass.DEVICE_ECC, Severity.CRITICAL, text, "reset the GPU, or replace it"))
    if facts.newest("gpu_remapped_rows_failure"):
        text = "cannot remap a broken memory row"
        found.append(_sign(FaultClass.DEVICE_ECC, Severity.CRITICAL, text, "replace the GPU"))
    elif facts.newest("gpu_remapped_rows_pending"):
        text = "has a memory row to be remapped at its next reset"
        found.append(_sign(FaultClass.DEVICE_ECC, Severity.WARNING, text, "reset the GPU when it is idle"))
    return found


def _links(facts: DeviceFacts, peers: Peers, now: int) -> list[Sign]:
    found = []
    for what, metric in (("lanes", "gpu_pcie_width"), ("generation", "gpu_pcie_generation")):
        value, most = _state(facts, metric, now), facts.newest(f"{metric}_max")
        usual = peers.typical(metric, now)
        # A board may have fewer lanes than the GPU, and an idle GPU lowers the generation: peers tell.
        if value and most and value < most and (usual is None or value < usual):
            text = f"is on a PCIe link with {what} {value:.0f} of {most:.0f}"
            why = "reseat the board or cable; the link trained down"
            found.append(_sign(FaultClass.DEVICE_PCIE, Severity.WARNING, text, why, hold_ns=2 * SECOND))
    if replays := _rising(facts, peers, "gpu_pcie_replays_total", REPLAYS, now):
        text = f"sent {replays:.0f} PCIe packets again in a minute"
        found.append(_sign(FaultClass.DEVICE_PCIE, Severity.WARNING, text, "its PCIe link has errors"))
    active, links = _state(facts, "gpu_nvlinks_active", now), peers.typical("gpu_nvlinks_active", now)
    if active is not None and links is not None and active < links:
        text = f"has {active:.0f} NVLinks up, its peers have {links:.0f}"
        found.append(_sign(FaultClass.DEVICE_NVLINK, Severity.CRITICAL, text, "check NVLink and fabric manager"))
    if errors := _rising(facts, peers, "gpu_nvlink_errors_total", ERRORS, now):
        text = f"counted {errors:.0f} NVLink errors in a minute"
        found.append(_sign(FaultClass.DEVICE_NVLINK, Severity.WARNING, text, "check NVLink and fabric manager"))
    return found


def _adapter(facts: DeviceFacts, peers: Peers, now: int) -> list[Sign]:
    found = []
    speed = _state(facts, "nic_speed_bps", now)
    before = max((r.value for r in facts.readings.get("nic_speed_bps", ())), default=0.0)
    if speed and speed < before:
        text = f"runs at {speed / 1e9:.0f} Gbit/s, before at {before / 1e9:.0f}"
        found.append(_sign(FaultClass.DEVICE_NIC, Severity.WARNING, text, "check cable and switch port"))
    if downs := facts.rise("nic_link_downed_total", now - RECENT_NS):
        text = f"lost its link {downs:.0f} times"
        found.append(_sign(FaultClass.DEVICE_NIC, Severity.WARNING, text, "check cable and switch port"))
    for metric, what in CABLE.items():
        if errors := _rising(facts, peers, metric, ERRORS, now):
            text = f"counted {errors:.0f} {what} in a minute"
            found.append(_sign(FaultClass.DEVICE_NIC, Severity.WARNING, text, "clean or replace its cable"))
    return found


CABLE = {
    "nic_symbol_errors_total": "bit errors", "nic_link_integrity_errors_total": "link integrity errors",
    "nic_crc_errors_total": "damaged frames", "nic_icrc_errors_total": "corrupt packets", "rx_errors": "broken packets",
}  # fmt: skip


def _room(facts: DeviceFacts, _peers: Peers, now: int) -> list[Sign]:
    free, total = _state(facts, "filesystem_free_bytes", now), facts.newest("filesystem_total_bytes")
    if free is None or not total or free > FULL * total:
        return []
    text = f"has {free / 1e9:.2f} GB left of {total / 1e9:.0f}"
    return [_sign(FaultClass.DEVICE_DISK, Severity.INFO, text, "make room")]


def _told(facts: DeviceFacts, _peers: Peers, now: int) -> list[Sign]:
    """Return what drivers and the kernel said, one sign a kind and code, with how often."""
    counted: dict[tuple[str, int | None], list[Said]] = {}
    for said in facts.events:
        if said.kind in EVENTS and said.at >= now - RECENT_NS:
            code = said.code if said.kind in {"xid", "sxid"} else None
            counted.setdefault((said.kind, code), []).append(said)
    found = []
    for (kind, code), events in counted.items():
        if kind == "xid" and code is not None:
            if (sign := _xid(code, events)) is not None:
                found.append(sign)
            continue
        fault, severity, text, why = EVENTS[kind]
        text = f"{text} ({len(events)} times)" if len(events) > 1 else text
        text += f": {events[-1].message}" if events[-1].message else ""
        found.append(_sign(fault, severity, text, why, events[0].at))
    return found


def _xid(code: int, events: list[Said]) -> Sign | None:
    xid = xids.catalogue().get(code)
    if xid is not None and xid.group in INNOCENT:
        return None
    meaning = xid.meaning if xid else "a number that is not in the catalogue"
    action = xid.action if xid else "inspect"
    severity = Severity.WARNING if action in MILD or (xid and xid.group == "retirement") else Severity.CRITICAL
    if xid and xid.group in {"advice", "test", "other"}:
        severity = Severity.INFO
    often = f", {len(events)} times" if len(events) > 1 else ""
    text = f"reported XID {code}{often}: {meaning}"
    data = {"code": code, "count": len(events), "message": events[-1].message}
    fatal = severity is Severity.CRITICAL
    return Sign(
        FaultClass.DEVICE_XID, severity, text, Evidence("xid", text, data), action.replace("_", " "),
        Action.ISOLATE_HOST if fatal else Action.INSPECT, since=events[0].at, sticky=fatal,
    )  # fmt: skip


EVENTS: dict[str, tuple[FaultClass, Severity, str, str]] = {
    "xid": (FaultClass.DEVICE_XID, Severity.WARNING, "reported an XID", "look at the kernel's log"),
    "gpu_lost": (FaultClass.DEVICE_XID, Severity.CRITICAL, "fell off the bus", "restart the machine"),
    "sxid": (FaultClass.DEVICE_NVLINK, Severity.WARNING, "reported an SXid", "check NVSwitch and fabric manager"),
    "pcie_error": (FaultClass.DEVICE_PCIE, Severity.WARNING, "had errors on PCIe", "reseat the board or cable"),
    "mce": (FaultClass.DEVICE_MEMORY, Severity.WARNING, "had a machine check", "look at memory and processor"),
    "edac": (FaultClass.DEVICE_MEMORY, Severity.CRITICAL, "had uncorrected memory errors", "replace the module"),
    "memory_failure": (FaultClass.DEVICE_MEMORY, Severity.WARNING, "gave up a page of memory", "replace the module"),
    "nvme_error": (FaultClass.DEVICE_DISK, Severity.WARNING, "does not answer as it should", "look at the disk"),
    "disk_error": (FaultClass.DEVICE_DISK, Severity.WARNING, "had errors", "look at the disk and its file system"),
    "nic_error": (FaultClass.DEVICE_NIC, Severity.WARNING, "failed", "look at adapter and firmware"),
    "nic_gone": (FaultClass.DEVICE_NIC, Severity.CRITICAL, "is gone", "look at adapter and PCIe slot"),
    "nic_link_flapped": (FaultClass.DEVICE_NIC, Severity.WARNING, "lost its link for a moment", "check cable and port"),
}
"""Event kind → class, severity, what the device did, what helps."""

CHECKS: dict[str, tuple[Callable[[DeviceFacts, Peers, int], list[Sign]], ...]] = {
    "gpu": (_told, _memory, _links, _throttles),
    "nvswitch": (_told,),
    "nic": (_told, _adapter),
    "disk": (_told, _room),
    "memory": (_told,),
    "cpu": (_told,),
    "host": (_told,),
    "pci": (_told,),
}
"""Kind of device → what is looked at."""
