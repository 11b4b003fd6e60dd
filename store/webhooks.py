"""Webhooks and their outbox: what they are owed is written with the incident's change, and sent by whoever asks."""

from __future__ import annotations

import base64
import secrets
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from offbeat.store import audit
from offbeat.store.errors import NotFoundError
from offbeat.store.rows import Delivery, Incident, Webhook
from offbeat.store.tables import Deliveries, Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store.engine import Database

KINDS = ("offbeat", "alertmanager", "slack", "pagerduty")
"""The forms in which an incident can be told."""
LEASE_NS = 60_000_000_000
"""How long who asked for a delivery has to say what became of it. Without it two senders send each message twice;
after it the message is given to the next, because the sender may have died."""


class WebhookStore:
    """Places that are told of incidents, and what they are owed. Secrets are kept readable: signing needs them."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def add(self, url: str, kind: str, secret: str | None = None, who: str = "local") -> tuple[Webhook, str]:
        """Add a webhook, which is told of incidents from now on.

        Args:
            url: Where to.
            kind: One of `KINDS`.
            secret: Its signing secret, for PagerDuty its routing key; None makes one (Standard Webhooks form).
            who: Who adds it, for the audit log.

        Returns:
            The webhook and its secret, which no list shows again.

        Raises:
            ValueError: There is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
        secret = secret or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        webhook = Webhook(f"wh_{uuid4().hex[:12]}", url, kind, self._clock())
        with self._database.write() as connection:
            connection.execute(
                sa.insert(Webhooks).values(
                    id=webhook.id, url=url, kind=kind, secret=secret, created_at=webhook.created_at
                )
            )
            audit.note(connection, webhook.created_at, who, "webhook.add", {"webhook": webhook.id, "kind": kind})
        return webhook, secret

    def list(self) -> tuple[Webhook, ...]:
        """Return all webhooks, the oldest first."""
        query = sa.select(Webhooks).order_by(Webhooks.created_at, Webhooks.id)
        with self._database.read() as connection:
            return tuple(Webhook(row.id, row.url, row.kind, row.created_at) for row in connection.execute(query))

    def remove(self, id_: str, who: str = "local") -> None:
        """Remove a webhook and what it is still owed.

        Raises:
            NotFoundError: There is no such webhook.
        """
        with self._database.write() as connection:
            if not connection.execute(sa.delete(Webhooks).where(Webhooks.id == id_)).rowcount:
                raise NotFoundError(f"no webhook {id_!r}")
            audit.note(connection, self._clock(), who, "webhook.remove", {"webhook": id_})

    def due(self, now: int, limit: int = 20) -> tuple[Delivery, ...]:
        """Take up to *limit* deliveries that are due at *now* (ns); nobody else gets them for `LEASE_NS`.

        Of one incident a webhook is owed, the later message waits until the earlier is sent or given up: `resolved`
        overtaking `opened` would leave an alert standing for ever.
        """
        return self._take(now, limit, None)

    def take(self, id_: str, now: int) -> Delivery | None:
        """Take the delivery *id_*, if it is due at *now* (ns) and nobody else has it; see `due`."""
        return next(iter(self._take(now, 1, id_)), None)

    def ripe(self, now: int, limit: int = 100) -> tuple[str, ...]:
        """Return the ids of up to *limit* deliveries that are due at *now* (ns), without taking them."""
        query = sa.select(Deliveries.message_id).where(*_ripe(now)).order_by(Deliveries.id).limit(limit)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def _take(self, now: int, limit: int, only: str | None) -> tuple[Delivery, ...]:
        query = (
            sa.select(
                Deliveries,
                Webhooks.url,
                Webhooks.kind.label("form"),
                Webhooks.secret,
                Webhooks.created_at.label("since"),
            )
            .join(Webhooks, Webhooks.id == Deliveries.webhook_id)
            .where(*_ripe(now))
            .order_by(Deliveries.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=Deliveries)
        )
        if only is not None:
            query = query.where(Deliveries.message_id == only)
        with self._database.write(durable=False) as connection:
            rows = connection.execute(query).all()
            taken = sa.update(Deliveries).where(Deliveries.id.in_([row.id for row in rows]))
            connection.execute(taken.values(next_at=now + LEASE_NS))
        return tuple(
            Delivery(
                id=row.message_id,
                webhook=Webhook(row.webhook_id, row.url, row.form, row.since),
                secret=row.secret,
                kind=row.kind,
                incident=row.incident,
                tries=row.tries,
                created_at=row.created_at,
            )
            for row in rows
        )

    def done(self, id_: str) -> None:
        """Note that the delivery *id_* arrived."""
        self._note(id_, {"state": "sent", "error": None})

    def failed(self, id_: str, next_at: int | None, error: str) -> None:
        """Note that the delivery *id_* did not arrive: try again at *next_at* (ns), never when None."""
        change = {"state": "dead"} if next_at is None else {"next_at": next_at}
        self._note(id_, {**change, "error": error[:1000]})

    def pending(self) -> int:
        """Return how many deliveries wait to be sent."""
        query = sa.select(sa.func.count()).select_from(Deliveries).where(Deliveries.state == "pending")
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def _note(self, id_: str, change: dict[str, object]) -> None:
        statement = sa.update(Deliveries).where(Deliveries.message_id == id_)
        with self._database.write() as connection:
            connection.execute(statement.values(**change, tries=Deliveries.tries + 1))


def _ripe(now: int) -> tuple[sa.ColumnElement[bool], ...]:
    earlier = aliased(Deliveries)
    blocked = sa.exists().where(
        earlier.webhook_id == Deliveries.webhook_id,
        earlier.incident_id == Deliveries.incident_id,
        earlier.state == "pending",
        earlier.id < Deliveries.id,
    )
    return Deliveries.state == "pending", Deliveries.next_at <= now, ~blocked


def owe(connection: sa.Connection, incident: Incident, kind: str, at: int) -> None:
    """Owe every webhook a message of *kind* (opened, resolved) about *incident*, in the transaction that changed it."""
    body = incident.to_dict()
    values = [
        {
            "message_id": f"msg_{uuid4().hex}",
            "webhook_id": webhook,
            "incident_id": incident.id,
            "kind": kind,
            "incident": body,
            "state": "pending",
            "tries": 0,
            "next_at": at,
            "created_at": at,
        }
        for webhook in connection.execute(sa.select(Webhooks.id).order_by(Webhooks.id)).scalars()
    ]
    if values:
        connection.execute(sa.insert(Deliveries), values)


def expire(connection: sa.Connection, before: int) -> None:
    """Delete what was sent or given up and is from before *before* (ns)."""
    connection.execute(sa.delete(Deliveries).where(Deliveries.created_at < before, Deliveries.state != "pending"))
