"""device.*: hardware that speaks against itself, and the trouble it explains.

Reads: gauges and events of devices. Emits: the device classes; what is slow, hangs or ended on the same rank or host is
the same incident, with the device as its cause.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from offbeat.analyzer.engine.signs import RECENT_NS, Peers, signs
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.model import Advice, Culprits, FaultClass, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.analyzer.engine.devices import DeviceFacts
    from offbeat.analyzer.engine.signs import Sign
    from offbeat.analyzer.engine.view import View

CLEAR_NS = 10_000_000_000
"""How long a device must be silent to be well; readings come every few seconds."""
SLOW_NET = {FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE, FaultClass.SLOW_LINK, FaultClass.SLOW_MIXED}
BY_GPU = {
    FaultClass.SLOW_COMPUTE, FaultClass.SLOW_MIXED, FaultClass.SLOW_SEND, FaultClass.SLOW_RECEIVE,
    FaultClass.HANG_NOT_ENTERED, FaultClass.HANG_IN_TRANSPORT, FaultClass.LOST_RANK, FaultClass.WORKLOAD_ERROR,
}  # fmt: skip
"""What a GPU's illness shows itself as."""
EXPLAINS = {
    "gpu": BY_GPU, "nvswitch": BY_GPU, "nic": SLOW_NET | {FaultClass.HANG_IN_TRANSPORT}, "pci": BY_GPU,
    "memory": {FaultClass.SLOW_COMPUTE, FaultClass.LOST_RANK, FaultClass.LOST_HOST}, "cpu": {FaultClass.SLOW_COMPUTE},
    "host": {FaultClass.LOST_HOST},
}  # fmt: skip
"""Kind of device → what is its doing where it happens on the same rank or host."""


def judge(view: View) -> list[Suspicion]:
    """Return the devices of the job that are ill, one suspicion a device."""
    job = view.job
    of_kind: dict[str, list[DeviceFacts]] = {}
    for host in job.hosts():
        for facts in view.hosts.devices.of(host):
            if facts.device.kind != "gpu" or _ranks(view, facts) is not None:
                of_kind.setdefault(facts.device.kind, []).append(facts)
    found = []
    for devices in of_kind.values():
        peers = Peers(devices)
        odd = [d for d in devices if d.odd_at >= view.now - RECENT_NS]
        found += [_suspicion(view, d, wrong) for d in odd if (wrong := signs(d, peers, view.now))]
    return found


def _ranks(view: View, facts: DeviceFacts) -> tuple[int, ...] | None:
    """Return the ranks of the job on a GPU; None where others use it."""
    job, device = view.job, facts.device
    mine = {r for name, r in facts.ranks if name in {job.job, ""} and job.host_of(r) == device.host}
    there = [job.ranks[r] for r in job.hosts().get(device.host, [])]
    mine |= {f.rank for f in there if f.gpu is not None and str(f.gpu) == device.id}
    if mine:
        return tuple(sorted(mine))
    return None if facts.ranks or any(f.gpu is not None for f in there) else ()


def _suspicion(view: View, facts: DeviceFacts, wrong: Sequence[Sign]) -> Suspicion:
    device, worst = facts.device, wrong[0]
    ranks = (_ranks(view, facts) or ()) if device.kind == "gpu" else ()
    name = {"gpu": "GPU", "nic": "adapter", "nvswitch": "NVSwitch"}.get(device.kind, device.kind)
    rank = f" (rank {', '.join(map(str, ranks))})" if ranks else ""
    return Suspicion(
        key=f"device:{device.host}:{device.kind}:{device.id}",
        fault=worst.fault,
        severity=worst.severity,
        summary=f"{name} {device.id} on {device.host}{rank} {worst.text}",
        advice=Advice(worst.action, worst.why),
        culprits=Culprits(ranks=ranks, hosts=() if ranks else (device.host,), devices=(device,)),
        evidence=tuple(s.evidence for s in wrong),
        confidence=0.95,
        started_at=worst.since,
        hold_ns=worst.hold_ns,
        clear_ns=CLEAR_NS,
        sticky=worst.sticky,
    )


def join(view: View, devices: Sequence[Suspicion], trouble: Sequence[Suspicion]) -> list[Suspicion]:
    """Return all suspicions, trouble and the ill device on the same place as one."""
    out, explained = [], set()
    for ill in devices:
        symptoms = [s for s in trouble if id(s) not in explained and _explains(view, ill, s)]
        explained |= {id(s) for s in symptoms}
        out.append(_one(view, ill, symptoms) if symptoms else ill)
    return out + [s for s in trouble if id(s) not in explained]


def _explains(view: View, ill: Suspicion, symptom: Suspicion) -> bool:
    (device,) = ill.culprits.devices
    if symptom.fault not in EXPLAINS.get(device.kind, ()) or ill.severity is Severity.INFO:
        return False
    ranks = set(symptom.culprits.ranks)
    if ill.culprits.ranks:
        return bool(ranks) and ranks <= set(ill.culprits.ranks)
    hosts = {view.job.host_of(r) for r in ranks} | set(symptom.culprits.hosts)
    hosts |= {h for k in symptom.culprits.links for h in (k.src_host, k.dst_host) if h and not ranks}
    return device.host in hosts and (len(hosts) == 1 or bool(symptom.culprits.links))


def _one(view: View, ill: Suspicion, symptoms: Sequence[Suspicion]) -> Suspicion:
    """Return the device's illness with what it shows itself as; the incident that is open already goes on."""
    first = symptoms[0]
    open_ = [s.key for s in symptoms if view.job.tracker.has(s.key) and not view.job.tracker.has(ill.key)]
    worst = Severity.CRITICAL if any(s.severity is Severity.CRITICAL for s in symptoms) else ill.severity
    starts = [s.started_at for s in (ill, *symptoms) if s.started_at is not None]
    return replace(
        ill,
        key=open_[0] if open_ else ill.key,
        severity=worst,
        summary=f"{ill.summary}; {first.summary}",
        culprits=Culprits(
            tuple(sorted({*ill.culprits.ranks, *(r for s in symptoms for r in s.culprits.ranks)})),
            ill.culprits.hosts,
            tuple(k for s in symptoms for k in s.culprits.links),
            ill.culprits.devices,
        ),
        victims=first.victims,
        evidence=(*ill.evidence, *(e for s in symptoms for e in s.evidence)),
        slowdown=first.slowdown,
        started_at=min(starts) if starts else None,
        hold_ns=0,
        sticky=ill.sticky or any(s.sticky for s in symptoms),
    )
