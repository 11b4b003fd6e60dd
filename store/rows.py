"""What the store takes and gives: plain values, free of the database. Times are Unix nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from offbeat.model import Finding, IncidentState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list: `next` is the cursor of the part after it, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch.

    Args:
        durable: The largest n such that batches 1…n of this incarnation cannot be lost any more; 0 for none.
        duplicate: This batch had been accepted before; nothing was stored again.
        lost: How many batches the agent gave up, as this one tells: they were never stored.
    """

    durable: int
    duplicate: bool = False
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """How far the store is behind, and what it has left.

    Args:
        unsealed_bytes: Decoded bytes accepted and not yet in segments.
        limit_bytes: Beyond so many, batches are refused for now.
        free_bytes: Room on the file system of the segments.
    """

    unsealed_bytes: int
    limit_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class JobRank:
    """Where a rank runs."""

    rank: int
    host: str
    pid: int | None = None
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as last seen: `state` is learning, running, stalled or ended; `iteration_ns` is None until learned."""

    id: str
    attempt: int = 0
    name: str = ""
    world: int = 0
    simulated: bool = False
    state: str = "learning"
    first_seen: int = 0
    last_seen: int = 0
    iteration_ns: int | None = None
    hosts: tuple[str, ...] = ()
    ranks: tuple[JobRank, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """One iteration of a job: when it ended, and how long it took (ns)."""

    at: int
    iteration_ns: int


@dataclass(frozen=True, slots=True)
class LatenessWindow:
    """Who was late in the stretch of `span_ns` that ended at `at`.

    Args:
        at: End of the window, ns.
        span_ns: Its length, ns.
        ranks: Global ranks, i32[r], ascending.
        lateness_ns: Lateness of each at its collectives, f32[r], ns; NaN where there is no data.
        own_ns: Own time of each between collectives, f32[r], ns; NaN where there is no data.
    """

    at: int
    span_ns: int
    ranks: npt.NDArray[np.int32]
    lateness_ns: npt.NDArray[np.float32]
    own_ns: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A host as its agent last described it: `jobs` maps job id to the ranks seen alive there."""

    host: str
    first_seen: int
    last_seen: int
    incarnation: int
    addresses: tuple[str, ...] = ()
    jobs: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """What a host is asked to do, by whom, and what became of it; times are ns."""

    id: int
    host: str
    kind: str
    arguments: dict[str, Any]
    who: str
    state: str
    created_at: int
    expires_at: int
    finished_at: int | None
    result: dict[str, Any]

    def expired(self) -> OrderRow:
        """Return it as one whose time is over."""
        return replace(self, state="expired")


@dataclass(frozen=True, slots=True)
class Conflict:
    """A host name that two live agents claim: the `taken` incarnation is heard, the `refused` one is not."""

    host: str
    taken: int
    refused: int
    at: int


@dataclass(frozen=True, slots=True)
class Incident:
    """A finding with a life.

    Args:
        id: Stable name; the same finding found anew after its end is another incident, `reopens` naming the one before.
        state: open → acknowledged → recovering → recovered or resolved.
        revision: Grows by one with each change; 1 when opened.
        opened_at: When this incident was written, ns.
        ended_at: When it was resolved or recovered, ns.
        updated_at: When it last changed, ns.
        resolved_by: Who ended it; empty when the fault ended by itself.
    """

    id: str
    job: str
    attempt: int
    state: IncidentState
    revision: int
    finding: Finding
    opened_at: int
    updated_at: int
    detected_at: int | None = None
    ended_at: int | None = None
    acknowledged_by: str | None = None
    acknowledged_at: int | None = None
    resolved_by: str | None = None
    resolved_why: str | None = None
    reopens: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that the API, its event stream and webhooks share."""
        return {
            "id": self.id,
            "job": self.job,
            "attempt": self.attempt,
            "class": str(self.finding.fault),
            "severity": str(self.finding.severity),
            "state": str(self.state),
            "revision": self.revision,
            "opened_at": self.opened_at,
            "updated_at": self.updated_at,
            "detected_at": self.detected_at,
            "ended_at": self.ended_at,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": self.acknowledged_at,
            "resolved_by": self.resolved_by,
            "resolved_why": self.resolved_why,
            "reopens": self.reopens,
            "finding": self.finding.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One change of one incident.

    Args:
        seq: Cursor; events become readable in this order, without gaps.
        kind: opened, changed, acknowledged, recovering, recovered or resolved.
        incident: The incident's JSON form right after the change.
    """

    seq: int
    at: int
    kind: str
    incident: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said about an incident: whether the finding was right."""

    incident: str
    at: int
    right: bool
    note: str
    who: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many incidents of a class people called right, and how many wrong."""

    fault: str
    right: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """A place that is told of incidents: `kind` is offbeat, alertmanager, slack or pagerduty."""

    id: str
    url: str
    kind: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that a webhook is owed.

    Args:
        id: Stays the same over all tries; send it as `webhook-id`.
        webhook: Where to.
        secret: The webhook's signing secret (for PagerDuty its routing key).
        kind: opened or resolved.
        incident: The incident's JSON form when that happened.
        tries: How often it was tried before.
        created_at: When it happened, ns.
    """

    id: str
    webhook: Webhook
    secret: str = field(repr=False)
    kind: str
    incident: dict[str, Any]
    tries: int
    created_at: int


class Role(StrEnum):
    """What a token may do: each of viewer, operator, admin includes the one before; an agent may only deliver."""

    AGENT = "agent"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token speaks for: `id` names the token, `host` the only host an agent may report."""

    id: str
    role: Role
    host: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as listed; what it was cannot be told any more."""

    id: str
    role: Role
    host: str | None
    note: str
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what, when."""

    id: int
    at: int
    who: str
    what: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer once given to a request with an idempotency key; `status` is None while it is still being made."""

    status: int | None
    body: bytes
