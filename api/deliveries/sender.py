"""The thread that sends what webhooks are owed, until it is taken or given up.

What is owed was written with the incident's change, so a restart loses nothing; the id stays the same over all tries,
so a receiver that saw one already can tell.
"""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx2
import structlog
from standardwebhooks import Webhook as Signer

from offbeat import __version__, metrics
from offbeat.api.deliveries import guard, payloads
from offbeat.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store import Bus, Delivery, Store

LOOK_SECONDS = 1.0
"""How often the outbox is looked at; the bus says sooner when an incident changes."""
TIMEOUT_SECONDS = 10.0
"""How long a receiver may take for each step; without it a silent one holds a worker for ever."""
WORKERS = 8
"""Receivers that are spoken to at once; with one, a slow receiver delays the alerts of all others."""
FIRST_RETRY_SECONDS, GROWTH, LONGEST_RETRY_SECONDS = 2.0, 3.0, 3600.0
"""Pauses between tries; without growth a receiver that is down is hammered, without a bound it waits for days."""
GIVE_UP_SECONDS = 86_400.0
"""Age at which an alert is dropped: nobody acts on it any more, and the outbox would grow."""

_deliveries = metrics.counter("offbeat_webhook_deliveries_total")
_duration = metrics.histogram("offbeat_webhook_delivery_duration_seconds")
_log = structlog.get_logger(__name__)


class DeliveryError(Exception):
    """A receiver did not take a message."""

    def __init__(self, message: str, *, gone: bool = False, retry_after: float | None = None) -> None:
        """Describe it: *gone* ends all tries, *retry_after* (s) is what the receiver asked for."""
        super().__init__(message)
        self.gone = gone
        self.retry_after = retry_after


class Sender:
    """Delivers the outbox of a store."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        allow_private: bool = False,
        public_url: str = "",
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare to deliver.

        Args:
            store: Whose outbox.
            bus: Says when an incident changed.
            allow_private: Receivers may have loopback or private addresses.
            public_url: The dashboard's address, for links.
            first_retry_seconds: Pause before the second try.
            clock: Unix time, ns.
        """
        self._store, self._bus, self._clock = store, bus, clock
        self._allow_private, self._public_url = allow_private, public_url
        self._first_retry = first_retry_seconds
        self._stopping = False
        self._wake = threading.Event()
        self._busy: set[Future[None]] = set()
        self._thread = threading.Thread(target=self._run, name="offbeat-webhooks", daemon=True)
        self._client = httpx2.Client(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            # A proxy of the environment would connect to addresses that nobody checked.
            trust_env=False,
            headers={"User-Agent": f"offbeat/{__version__}", "Content-Type": "application/json"},
        )

    def start(self) -> None:
        """Begin to deliver."""
        self._subscription = self._bus.subscribe("incidents", size=1, wake=self._wake.set)
        self._thread.start()

    def stop(self) -> None:
        """End after the tries that are under way; what is left is sent after the next start."""
        self._stopping = True
        self._subscription.close()  # wakes the thread
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="offbeat-webhook") as pool:
            while not self._stopping:
                self._wake.clear()
                if not self._hand_out(pool):
                    self._wake.wait(LOOK_SECONDS)
                    self._subscription.get(0)

    def _hand_out(self, pool: ThreadPoolExecutor) -> int:
        """Give what is due to free workers; a delivery is taken only when it can be tried at once."""
        free = WORKERS - len(self._busy)
        try:
            due = self._store.webhooks.due(self._clock(), limit=free) if free else []
        except StoreError as error:
            _log.warning("outbox cannot be read", error=str(error))
            return 0
        for delivery in due:
            future = pool.submit(self.deliver, delivery)
            self._busy.add(future)
            future.add_done_callback(self._finished)
        return len(due)

    def _finished(self, future: Future[None]) -> None:
        self._busy.discard(future)
        self._wake.set()

    def deliver(self, delivery: Delivery) -> None:
        """Try *delivery* once, in this thread, and note what became of it; for who took it from the outbox."""
        kind = delivery.webhook.kind
        try:
            try:
                with _duration.labels(kind).time():
                    self._send(delivery)
            except DeliveryError as error:
                self._failed(delivery, error)
            except Exception as error:  # noqa: BLE001 - one malformed message must not be tried for ever in silence
                _log.exception("webhook cannot be written", webhook=delivery.webhook.id)
                self._failed(delivery, DeliveryError(f"{type(error).__name__}: {error}"))
            else:
                self._store.webhooks.done(delivery.id)
                _deliveries.labels(kind, "delivered").inc()
        except StoreError as error:
            # Its lease ends and it is tried again, with the same id.
            _log.warning("outbox cannot be written", webhook=delivery.webhook.id, error=str(error))

    def _failed(self, delivery: Delivery, error: DeliveryError) -> None:
        now = self._clock()
        give_up = error.gone or now - delivery.created_at > GIVE_UP_SECONDS * 1e9
        pause = self._pause(delivery.tries, error.retry_after)
        self._store.webhooks.failed(delivery.id, None if give_up else now + int(pause * 1e9), str(error))
        _deliveries.labels(delivery.webhook.kind, "given_up" if give_up else "retried").inc()
        # The address stays out of the log: with Slack it is the secret.
        _log.warning(
            "webhook not delivered",
            webhook=delivery.webhook.id,
            incident=delivery.incident["id"],
            tries=delivery.tries + 1,
            error=str(error),
            next_seconds=None if give_up else round(pause, 1),
        )

    def _pause(self, tries: int, asked: float | None) -> float:
        # Bounded before the power, which overflows for a receiver that is down for long.
        pause = min(self._first_retry * GROWTH ** min(tries, 20), LONGEST_RETRY_SECONDS)
        pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
        return max(pause, min(asked or 0.0, LONGEST_RETRY_SECONDS))

    def _send(self, delivery: Delivery) -> None:
        try:
            target = guard.resolve(delivery.webhook.url, allow_private=self._allow_private)
        except guard.RefusedError as error:
            raise DeliveryError(str(error)) from None
        body = json.dumps(payloads.build(delivery, self._public_url), ensure_ascii=False, allow_nan=False)
        headers = {"Host": target.host_header, **self._signature(delivery, body)}
        try:
            # The connection goes to the address that was judged; name and certificate are those of the host.
            with self._client.stream(
                "POST",
                target.connect_url,
                content=body.encode(),
                headers=headers,
                extensions={"sni_hostname": target.host},
            ) as answer:
                status, retry_after = answer.status_code, answer.headers.get("retry-after")
        except httpx2.HTTPError as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from None
        if not 200 <= status < 300:
            raise DeliveryError(f"answered {status}", gone=status == 410, retry_after=_seconds(retry_after))

    def _signature(self, delivery: Delivery, body: str) -> dict[str, str]:
        if delivery.webhook.kind == payloads.Kind.PAGERDUTY:
            return {}  # its secret is the routing key, in the body
        now = datetime.now(UTC)
        return {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signer(delivery.secret).sign(delivery.id, now, body),
        }


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
