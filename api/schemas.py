"""The JSON that the API speaks. Times are integer nanoseconds since the Unix epoch."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from offbeat.model import Action, FaultClass, IncidentState, Severity
from offbeat.store import Role

T = TypeVar("T")


class Items(BaseModel, Generic[T]):
    """A part of a list; `next` is the `cursor` of the part after it, null at the end."""

    items: list[T]
    next: str | None = None


class JobRank(BaseModel):
    """Where a rank runs."""

    rank: int
    host: str
    pid: int | None = None
    gpu: int | None = None


class Job(BaseModel):
    """A job as last seen."""

    id: str
    name: str
    attempt: int
    world: int = Field(description="number of ranks")
    hosts: list[str]
    simulated: bool
    state: str = Field(description="learning, running, stalled or ended")
    first_seen: int
    last_seen: int
    iteration_seconds: float | None = Field(description="null until the beat is learned")
    open_incidents: int


class JobDetail(Job):
    """A job, and where its ranks run."""

    ranks: list[JobRank]


class BeatPoint(BaseModel):
    """One iteration."""

    at: int = Field(description="when it ended")
    iteration_seconds: float


class Lateness(BaseModel):
    """Ranks by time: how late each rank was, null where there is no data."""

    times: list[int]
    ranks: list[int]
    lateness_ms: list[list[float | None]] = Field(description="one row a time, one value a rank")


class Link(BaseModel):
    """A directed path."""

    src_rank: int | None
    dst_rank: int | None
    src_host: str | None
    dst_host: str | None


class Device(BaseModel):
    """A piece of hardware."""

    host: str
    kind: str
    id: str


class Culprits(BaseModel):
    """Who is to blame; all lists are present, empty when unknown."""

    ranks: list[int]
    hosts: list[str]
    links: list[Link]
    devices: list[Device]


class Evidence(BaseModel):
    """One thing a person can check."""

    kind: str
    text: str
    data: dict[str, Any]


class Advice(BaseModel):
    """What to do."""

    action: Action
    why: str


class Victims(BaseModel):
    """Who only suffers."""

    ranks: list[int]


class Finding(BaseModel):
    """One fault of one job, as in `offbeat.diagnosis/1`."""

    id: str
    fault: FaultClass = Field(alias="class")
    severity: Severity
    culprits: Culprits
    slowdown: float | None
    confidence: float
    started_at: int | None
    detected_at: int | None
    ended_at: int | None
    summary: str
    advice: Advice
    evidence: list[Evidence]
    victims: Victims
    caused_by: str | None


class Incident(BaseModel):
    """A finding with a life."""

    id: str
    job: str
    attempt: int
    fault: FaultClass = Field(alias="class")
    severity: Severity
    state: IncidentState
    revision: int
    opened_at: int
    updated_at: int
    detected_at: int | None
    ended_at: int | None
    acknowledged_by: str | None
    acknowledged_at: int | None
    resolved_by: str | None
    resolved_why: str | None
    reopens: str | None = Field(description="the incident before, when the same fault came back")
    finding: Finding


class Step(BaseModel):
    """One step of an incident's life."""

    at: int
    kind: str = Field(description="opened, changed, acknowledged, recovering, recovered, resolved or feedback")
    who: str | None = Field(description="id of the token, null where nobody did it")
    text: str


class Accuracy(BaseModel):
    """How often people called findings of a class right."""

    fault: FaultClass = Field(alias="class")
    right: int
    wrong: int


class Node(BaseModel):
    """A host as its agent last described it."""

    host: str
    first_seen: int
    last_seen: int
    incarnation: int
    addresses: list[str]
    jobs: dict[str, list[int]] = Field(description="job → ranks seen alive there")


class Order(BaseModel):
    """What a host is asked to do, and what became of it."""

    id: int
    host: str
    kind: str = Field(description="template: bounds, drill_down")
    arguments: dict[str, Any]
    who: str = Field(description="who gave it")
    state: str = Field(description="open; done, failed or refused by the node; expired; replaced by a later one")
    created_at: int
    expires_at: int
    finished_at: int | None
    result: dict[str, Any]


class Conflict(BaseModel):
    """Two live agents under one host name: one is heard, the other refused. Numbers are their starts."""

    taken: int
    refused: int
    at: int


class NodeDetail(Node):
    """A host, who else claims its name, and what of its telemetry is missing."""

    conflict: Conflict | None
    lost_batches: int = Field(description="batches that its agents gave up in the last days: their spool was full")


class Delay(BaseModel):
    """One path from host to host, by the slowest of its connections that carry the job."""

    src_host: str
    dst_host: str
    connections: int
    rtt_us: float
    usual_rtt_us: float | None = Field(description="before `now_since`; null where it was not seen")
    busy: float = Field(description="share of time with data in flight")
    retransmits: float = Field(description="a second, of all connections")


class Delays(BaseModel):
    """The delay matrix of a job; pairs of hosts without a path that carries it are left out."""

    since: int
    now_since: int
    until: int
    hosts: list[str]
    paths: list[Delay]


class Communicator(BaseModel):
    """A group of ranks that communicate; `ranks` are those that told of it."""

    comm: str
    name: str | None
    n_ranks: int
    ranks: list[int]


class Series(BaseModel):
    """One metric of one device of a host."""

    device_kind: str | None
    device_id: str | None
    metric: str
    per_second: bool = Field(description="a counter, told as growth a second")
    at: list[int]
    value: list[float | None]


class NodeEvent(BaseModel):
    """What the kernel, a device or a process of a host said."""

    at: int
    rank: int | None
    device_kind: str | None
    device_id: str | None
    kind: str
    code: int | None
    message: str | None


class NodeSeries(BaseModel):
    """What a host measured and said between two times."""

    host: str
    since: int
    until: int
    series: list[Series]
    left_out: int = Field(description="series beyond the most that one answer has")
    events: list[NodeEvent]


class Token(BaseModel):
    """A token as listed; what it was cannot be told any more."""

    id: str
    role: Role
    host: str | None
    note: str
    created_at: int
    revoked_at: int | None


class NewToken(Token):
    """A token just made."""

    token: str | None = Field(description="shown only now; null when the request is repeated")


class Webhook(BaseModel):
    """A place that is told of incidents."""

    id: str
    url: str
    kind: str
    created_at: int


class NewWebhook(Webhook):
    """A webhook just made."""

    secret: str | None = Field(
        description="signing secret, shown only now; null when the request is repeated, or the receiver gave the secret"
    )
