"""The SQL half, as typed models. Times are Unix nanoseconds in 64-bit integers.

What a migration must change is what differs from here; a test holds both together.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from offbeat.store.plain import plain, storable

# SQLite numbers rows by itself only in a column whose type is exactly INTEGER.
_COUNTER = BigInteger().with_variant(Integer, "sqlite")


class Words(TypeDecorator[str]):
    """Text of any length, from anybody."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _: object) -> str | None:
        """Leave out what cannot be stored."""
        return None if value is None else storable(value)


class Name(TypeDecorator[str]):
    """Text of bounded length, from anybody."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, _: object) -> str | None:
        """Leave out what cannot be stored."""
        return None if value is None else storable(value)


class Json(TypeDecorator[Any]):
    """Nested values."""

    impl = JSON().with_variant(JSONB, "postgresql")
    cache_ok = True

    def process_bind_param(self, value: Any, _: object) -> Any:
        """Bring them into the form that both databases can hold."""
        return plain(value)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        str: Words,
        bytes: LargeBinary,
        bool: Boolean,
        dict[str, Any]: Json,
        list[Any]: Json,
    }


def _counter() -> Mapped[int]:
    return mapped_column(_COUNTER, Identity(), primary_key=True)


class Incarnations(Base):
    """One run of one agent, up to which batch it is durable, and how many of those it gave up before they came."""

    __tablename__ = "incarnations"
    host: Mapped[str] = mapped_column(Name(255), primary_key=True)
    incarnation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    durable: Mapped[int]
    lost: Mapped[int] = mapped_column(server_default="0")
    first_received: Mapped[int]
    last_received: Mapped[int]


class Batches(Base):
    """A batch that is still in an unsealed log, or that came before its predecessors did (then `log` is empty)."""

    __tablename__ = "batches"
    host: Mapped[str] = mapped_column(Name(255), primary_key=True)
    incarnation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    log: Mapped[str] = mapped_column(Name(128), index=True)


class Segments(Base):
    """The records of one table, job and attempt in one Parquet file.

    `from_at` and `to_at` span the times of the records, null where they have none; `received_at` is when the last came.
    """

    __tablename__ = "segments"
    __table_args__ = (Index("ix_segments_record_job_to_at", "record", "job", "to_at"),)
    id: Mapped[int] = _counter()
    record: Mapped[str] = mapped_column(Name(64))
    job: Mapped[str]
    attempt: Mapped[int]
    from_at: Mapped[int | None]
    to_at: Mapped[int | None]
    received_at: Mapped[int] = mapped_column(index=True)
    rows: Mapped[int]
    bytes: Mapped[int]
    path: Mapped[str] = mapped_column(Name(255), index=True)
    level: Mapped[int]


class Leases(Base):
    """A right that one process holds at a time; `fence` counts its changes of hands."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(Name(255), primary_key=True)
    holder: Mapped[str] = mapped_column(Name(255))
    fence: Mapped[int]
    expires_at: Mapped[int]


class Jobs(Base):
    """A job as last seen."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Name(255), primary_key=True)
    attempt: Mapped[int]
    name: Mapped[str]
    world: Mapped[int]
    simulated: Mapped[bool]
    state: Mapped[str] = mapped_column(Name(16))
    first_seen: Mapped[int]
    last_seen: Mapped[int] = mapped_column(index=True)
    iteration_ns: Mapped[int | None]
    hosts: Mapped[list[Any]]
    ranks: Mapped[list[Any]]


class Beats(Base):
    """One iteration of a job."""

    __tablename__ = "beats"
    job: Mapped[str] = mapped_column(Name(255), primary_key=True)
    at: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    iteration_ns: Mapped[int]


class Lateness(Base):
    """Lateness of all ranks in one window; the arrays are little-endian i32 and f32."""

    __tablename__ = "lateness"
    job: Mapped[str] = mapped_column(Name(255), primary_key=True)
    at: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    span_ns: Mapped[int]
    ranks: Mapped[bytes]
    lateness_ns: Mapped[bytes]
    own_ns: Mapped[bytes]


class Nodes(Base):
    """A host as its agent last described it, and the last time somebody else claimed its name."""

    __tablename__ = "nodes"
    host: Mapped[str] = mapped_column(Name(255), primary_key=True)
    first_seen: Mapped[int]
    last_seen: Mapped[int]
    incarnation: Mapped[int]
    addresses: Mapped[list[Any]]
    jobs: Mapped[dict[str, Any]]


class Claims(Base):
    """An incarnation whose batches were refused because a later started one lives under the same host name."""

    __tablename__ = "claims"
    host: Mapped[str] = mapped_column(Name(255), primary_key=True)
    taken: Mapped[int]
    refused: Mapped[int]
    at: Mapped[int]


class Incidents(Base):
    """A finding with a life; `round` counts how often the same finding came back within an attempt."""

    __tablename__ = "incidents"
    __table_args__ = (
        UniqueConstraint("job", "attempt", "finding_id", "round"),
        Index("ix_incidents_opened_at_id", "opened_at", "id"),
    )
    id: Mapped[str] = mapped_column(Name(64), primary_key=True)
    job: Mapped[str]
    attempt: Mapped[int]
    finding_id: Mapped[str]
    round: Mapped[int]
    fault: Mapped[str] = mapped_column(Name(64))
    severity: Mapped[str] = mapped_column(Name(16))
    state: Mapped[str] = mapped_column(Name(16), index=True)
    revision: Mapped[int]
    opened_at: Mapped[int]
    updated_at: Mapped[int]
    detected_at: Mapped[int | None]
    ended_at: Mapped[int | None]
    acknowledged_by: Mapped[str | None]
    acknowledged_at: Mapped[int | None]
    resolved_by: Mapped[str | None]
    resolved_why: Mapped[str | None]
    reopens: Mapped[str | None] = mapped_column(Name(64))
    finding: Mapped[dict[str, Any]]


class Counters(Base):
    """Numbers drawn under a row lock, so that they become visible in order and without gaps."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(Name(64), primary_key=True)
    value: Mapped[int]


class IncidentEvents(Base):
    """Every change of every incident, in the order of `seq`."""

    __tablename__ = "incident_events"
    __table_args__ = (Index("ix_incident_events_incident_id_seq", "incident_id", "seq"),)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[int]
    kind: Mapped[str] = mapped_column(Name(16))
    incident: Mapped[dict[str, Any]]
    incident_id: Mapped[str | None] = mapped_column(Name(64))


class Feedbacks(Base):
    """What people said about incidents."""

    __tablename__ = "feedbacks"
    id: Mapped[int] = _counter()
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"), index=True)
    at: Mapped[int]
    right: Mapped[bool]
    note: Mapped[str]
    who: Mapped[str]


class Orders(Base):
    """What a host is asked to do, and what became of it; numbers are drawn from `Counters`."""

    __tablename__ = "orders"
    __table_args__ = (Index("ix_orders_host_id", "host", "id"), Index("ix_orders_state_id", "state", "id"))
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host: Mapped[str] = mapped_column(Name(255))
    kind: Mapped[str] = mapped_column(Name(32))
    arguments: Mapped[dict[str, Any]]
    who: Mapped[str]
    state: Mapped[str] = mapped_column(Name(16))
    created_at: Mapped[int]
    expires_at: Mapped[int]
    finished_at: Mapped[int | None]
    result: Mapped[dict[str, Any]]


class Webhooks(Base):
    """A place that is told of incidents."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(Name(64), primary_key=True)
    url: Mapped[str]
    kind: Mapped[str] = mapped_column(Name(32))
    secret: Mapped[str]
    created_at: Mapped[int]


class Deliveries(Base):
    """What webhooks are owed: written with the incident's change, sent later, the same id on every try."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "incident_id", "kind"),
        Index("ix_deliveries_state_next_at", "state", "next_at"),
    )
    id: Mapped[int] = _counter()
    message_id: Mapped[str] = mapped_column(Name(64), unique=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(Name(16))
    incident: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Name(16))
    tries: Mapped[int]
    next_at: Mapped[int]
    error: Mapped[str | None]
    created_at: Mapped[int]


class Tokens(Base):
    """A token's keyed hash and what it may do."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(Name(32), primary_key=True)
    hash: Mapped[bytes]
    role: Mapped[str] = mapped_column(Name(16))
    host: Mapped[str | None]
    note: Mapped[str]
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class Audit(Base):
    """Who did what."""

    __tablename__ = "audit"
    id: Mapped[int] = _counter()
    at: Mapped[int]
    who: Mapped[str]
    what: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Idempotency(Base):
    """Answers to requests with an idempotency key; `status` is null while the first is being made."""

    __tablename__ = "idempotency"
    principal: Mapped[str] = mapped_column(Name(64), primary_key=True)
    key: Mapped[str] = mapped_column(Name(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Name(64))
    status: Mapped[int | None]
    body: Mapped[bytes]
    created_at: Mapped[int] = mapped_column(index=True)
