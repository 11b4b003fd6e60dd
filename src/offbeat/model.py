"""Findings, advice and incidents: what Offbeat says, apart from what it measured (`offbeat.records`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self


class FaultClass(StrEnum):
    """The closed list of what can be found; the same words in findings, alerts, metrics, dashboard and docs."""

    HANG_NOT_ENTERED = "hang.not_entered"
    HANG_IN_TRANSPORT = "hang.in_transport"
    HANG_MISMATCH = "hang.mismatch"
    LOST_RANK = "lost.rank"
    LOST_HOST = "lost.host"
    SLOW_COMPUTE = "slow.compute"
    SLOW_SEND = "slow.send"
    SLOW_RECEIVE = "slow.receive"
    SLOW_LINK = "slow.link"
    SLOW_FABRIC = "slow.fabric"
    SLOW_MIXED = "slow.mixed"
    SLOW_UNIFORM = "slow.uniform"
    WORKLOAD_STAGE_IMBALANCE = "workload.stage_imbalance"
    WORKLOAD_SEQUENCE_IMBALANCE = "workload.sequence_imbalance"
    WORKLOAD_INPUT_STALL = "workload.input_stall"
    WORKLOAD_PAUSE = "workload.pause"
    WORKLOAD_ERROR = "workload.error"
    DEVICE_XID = "device.xid"
    DEVICE_ECC = "device.ecc"
    DEVICE_THERMAL = "device.thermal"
    DEVICE_POWER = "device.power"
    DEVICE_PCIE = "device.pcie"
    DEVICE_NVLINK = "device.nvlink"
    DEVICE_NIC = "device.nic"
    DEVICE_MEMORY = "device.memory"
    DEVICE_DISK = "device.disk"
    TELEMETRY_LOST = "telemetry.lost"
    CORRUPTION_REPLICA = "corruption.replica"


class Severity(StrEnum):
    """How much a finding matters; `info` alone leaves a job healthy."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Action(StrEnum):
    """What a person, or the conductor, should do about a finding."""

    ISOLATE_HOST = "isolate_host"
    RESTART_JOB = "restart_job"
    FIX_WORKLOAD = "fix_workload"
    INSPECT = "inspect"
    NONE = "none"


class IncidentState(StrEnum):
    """The life of an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RECOVERING = "recovering"
    RECOVERED = "recovered"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A directed path between two ranks or hosts; None where only the other is known."""

    src_rank: int | None = None
    dst_rank: int | None = None
    src_host: str | None = None
    dst_host: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Device:
    """A piece of hardware on a host: `kind` is gpu, nic, disk, …; `id` its number or name there."""

    host: str
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Culprits:
    """Who is to blame; empty lists where nobody is, or nobody can be named."""

    ranks: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing a person can check: a sentence, and the figures behind it."""

    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and why."""

    action: Action
    why: str


@dataclass(frozen=True, slots=True)
class Abstention:
    """What could not be told, and which feed would tell it."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one job. Times are Unix nanoseconds; `id` is stable within a job's attempt."""

    id: str
    fault: FaultClass
    severity: Severity
    summary: str
    advice: Advice
    culprits: Culprits = field(default_factory=Culprits)
    victims: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    slowdown: float | None = None
    confidence: float = 1.0
    started_at: int | None = None
    detected_at: int | None = None
    ended_at: int | None = None
    caused_by: str | None = None
    job: str = ""
    attempt: int = 0

    def ended(self, at: int) -> Self:
        """Return this finding, ended at *at* (Unix nanoseconds)."""
        return replace(self, ended_at=at)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of `offbeat.diagnosis/1`; `job` and `attempt` are the incident's, not part of it."""
        return {
            "id": self.id,
            "class": str(self.fault),
            "severity": str(self.severity),
            "culprits": {
                "ranks": list(self.culprits.ranks),
                "hosts": list(self.culprits.hosts),
                "links": [asdict(link) for link in self.culprits.links],
                "devices": [asdict(device) for device in self.culprits.devices],
            },
            "slowdown": self.slowdown,
            "confidence": self.confidence,
            "started_at": self.started_at,
            "detected_at": self.detected_at,
            "ended_at": self.ended_at,
            "summary": self.summary,
            "advice": {"action": str(self.advice.action), "why": self.advice.why},
            "evidence": [asdict(item) for item in self.evidence],
            "victims": {"ranks": list(self.victims)},
            "caused_by": self.caused_by,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], *, job: str = "", attempt: int = 0) -> Self:
        """Read back what `to_dict` wrote."""
        culprits = value["culprits"]
        return cls(
            id=value["id"],
            fault=FaultClass(value["class"]),
            severity=Severity(value["severity"]),
            summary=value["summary"],
            advice=Advice(Action(value["advice"]["action"]), value["advice"]["why"]),
            culprits=Culprits(
                ranks=tuple(culprits["ranks"]),
                hosts=tuple(culprits["hosts"]),
                links=tuple(Link(**link) for link in culprits["links"]),
                devices=tuple(Device(**device) for device in culprits["devices"]),
            ),
            victims=tuple(value["victims"]["ranks"]),
            evidence=tuple(Evidence(**item) for item in value["evidence"]),
            slowdown=value["slowdown"],
            confidence=value["confidence"],
            started_at=value["started_at"],
            detected_at=value["detected_at"],
            ended_at=value["ended_at"],
            caused_by=value["caused_by"],
            job=job,
            attempt=attempt,
        )
