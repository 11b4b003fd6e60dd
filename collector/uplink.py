"""Sending batches to the service: in order, again until they are durable, never in a hurry that hurts the service."""

from __future__ import annotations

import email.utils
import math
import random
import threading
import time
from typing import TYPE_CHECKING

import httpx2
import structlog

if TYPE_CHECKING:
    from offbeat.collector.outbox import Outbox, Outgoing

CONTENT_TYPE = "application/vnd.offbeat.batch"
BACKOFF_SECONDS = 0.25
BACKOFF_CAP_SECONDS = 5.0
"""Longest pause between tries; longer ones delay the recovery after an outage by as much."""
RETRY_AFTER_CAP_SECONDS = 60.0
"""Longest pause a service may ask for; without it one wrong header silences a node."""
SPREAD = 0.5
"""Part of the pause asked for that is added by chance; without it all agents come back at one moment."""
REFUSED_SECONDS = 5.0
"""Pause after an answer that only a person can change: a wrong token, a wrong URL."""
CONFLICTS = 5
"""Answers "another agent has this host's name" in a row until we believe it."""
TIMEOUT_SECONDS = 10.0

_log = structlog.get_logger()


class UplinkError(Exception):
    """The service's address cannot be used; the message says why."""


def connect(url: str, token: str) -> httpx2.Client:
    """Return a client for the service at *url*: http://, https:// or unix:///path/of.sock.

    Raises:
        UplinkError: The URL is of another kind.
    """
    headers = {"Content-Type": CONTENT_TYPE}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    scheme, _, rest = url.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        transport = httpx2.HTTPTransport(uds=rest)
        return httpx2.Client(base_url="http://offbeat", transport=transport, headers=headers, timeout=TIMEOUT_SECONDS)
    if scheme in ("http", "https") and rest:
        return httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_SECONDS)
    raise UplinkError(f"cannot use URL {url!r}: give http://…, https://… or unix:///path/of.sock")


class Uplink:
    """A thread that empties an outbox into the service."""

    def __init__(self, outbox: Outbox, host: str, client: httpx2.Client) -> None:
        """Send as *host* through *client*, which is closed at the end."""
        self.fatal: str | None = None
        """Set when there is no sense in going on; the agent ends with it."""
        self.reached = False
        """Whether the service took the last batch that was sent."""
        self._outbox = outbox
        self._host = host
        self._client = client
        self._stop = threading.Event()
        self._deadline = float("inf")
        self._failures = 0
        self._conflicts = 0
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="offbeat-uplink", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Send what is left for at most *seconds*, then end."""
        self._deadline = time.monotonic() + seconds
        self._stop.set()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._client.close()

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 - see below
            # A sender that has died must not leave an agent that looks well: end, and be started anew.
            self.fatal = f"the uplink failed: {type(error).__name__}: {error}"
            _log.exception("the uplink failed")

    def _loop(self) -> None:
        while self.fatal is None and not self._done():
            batch = self._outbox.take(0.05 if self._stop.is_set() else 0.5)
            if batch is None:
                continue
            pause = self._send(batch)
            if pause > 0:
                self._outbox.retry(batch.key)
                self._wait(pause)

    def _done(self) -> bool:
        return self._stop.is_set() and (self._outbox.size()[0] == 0 or time.monotonic() >= self._deadline)

    def _wait(self, seconds: float) -> None:
        if self._stop.is_set():
            time.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))
        else:
            self._stop.wait(seconds)

    def _send(self, batch: Outgoing) -> float:
        """Send one batch; return seconds to wait before it is sent again, 0 when it is dealt with."""
        headers = {"Offbeat-Batch": f"{self._host}/{batch.key.incarnation}/{batch.key.n}"}
        if batch.key.incarnation != self._outbox.incarnation:
            headers["Offbeat-Agent"] = str(self._outbox.incarnation)
        if batch.gap:
            headers["Offbeat-Gap"] = str(batch.gap)
        try:
            answer = self._client.post("/api/v1/telemetry", content=batch.body, headers=headers)
        except httpx2.HTTPError as error:
            self._say("unreachable", "cannot reach the service", why=str(error) or type(error).__name__)
            return self._backoff()
        status = answer.status_code
        if status != httpx2.codes.CONFLICT:
            self._conflicts = 0
        if status in (200, 202):
            return self._accepted(batch, answer)
        if status in (400, 413, 415, 422):
            self._failures = 0
            self._outbox.poison(batch)
            _log.error(
                "the service refuses a batch: put aside", batch=batch.key.filename, status=status, why=_why(answer)
            )
            return 0.0
        if status == httpx2.codes.CONFLICT:
            return self._conflict(answer)
        if status == httpx2.codes.TOO_MANY_REQUESTS or status >= 500:
            self._say("busy", "the service is not ready", status=status, why=_why(answer))
            asked = _retry_after(answer)
            return self._backoff() if asked is None else asked * _spread(SPREAD)
        self._say(f"status {status}", "the service does not take our batches", status=status, why=_why(answer))
        return REFUSED_SECONDS

    def _accepted(self, batch: Outgoing, answer: httpx2.Response) -> float:
        try:
            durable = int(answer.json()["durable"])
        except (ValueError, KeyError, TypeError):
            self._say("odd answer", "the service's answer is not understood", why=answer.text[:200])
            return self._backoff()
        self._failures = 0
        self._say("", "the service takes our batches")
        self._outbox.release(batch.key.incarnation, durable)
        return 0.0

    def _conflict(self, answer: httpx2.Response) -> float:
        self._conflicts += 1
        if self._conflicts >= CONFLICTS:
            self.fatal = f"the service says another agent runs as host {self._host!r}: {_why(answer)}"
        return self._backoff()

    def _backoff(self) -> float:
        self._failures += 1
        pause = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * 2.0 ** min(self._failures - 1, 10))
        return pause * _spread(-0.5)

    def _say(self, state: str, text: str, **facts: object) -> None:
        """Log a change, and only a change."""
        self.reached = not state
        if state == self._said:
            return
        self._said = state
        log = _log.warning if state else _log.info
        log(text, url=str(self._client.base_url), waiting=self._outbox.size()[0], **facts)


def _spread(part: float) -> float:
    """Return a factor between 1 and 1 + *part*."""
    return 1.0 + part * random.random()  # noqa: S311 - spreads the agents, keeps no secret


def _retry_after(answer: httpx2.Response) -> float | None:
    """Return the pause that the service asks for, in seconds, as a number or a date (RFC 9110)."""
    text = answer.headers.get("Retry-After", "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return None if math.isnan(seconds) else max(0.05, min(seconds, RETRY_AFTER_CAP_SECONDS))


def _why(answer: httpx2.Response) -> str:
    """Return what the service says about an error, be it problem+json or not."""
    try:
        problem = answer.json()
        return str(problem.get("detail") or problem.get("title") or problem)[:500]
    except (ValueError, AttributeError):
        return answer.text[:500]
