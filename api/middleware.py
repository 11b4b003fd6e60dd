"""Around every request: count it, log it, catch what nobody caught, and add the headers browsers need."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import MutableHeaders

from offbeat import metrics
from offbeat.api.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/api/v1"
"""Where the API lives."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""For answers that set none of their own: an answer of the API is data, never a page."""

_requests = metrics.counter("offbeat_api_requests_total")
_duration = metrics.histogram("offbeat_api_request_duration_seconds")
_in_progress = metrics.gauge("offbeat_api_requests_in_progress")
_errors = metrics.counter("offbeat_api_errors_total")
_log = structlog.get_logger(__name__)


class Surround:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with _in_progress.track_inprogress():
            try:
                await self.app(scope, receive, answer)
            except Problem as problem:
                # Raised below the part that turns problems into answers.
                if status:
                    raise
                await problem.response()(scope, receive, answer)
            except Exception:  # the last who can answer, whatever it is
                id_ = uuid.uuid4().hex[:12]
                _errors.inc()
                _log.exception("request failed", id=id_, method=scope["method"], path=scope["path"])
                if status:
                    # Half an answer is out; only a broken connection tells the client that the rest is missing.
                    raise
                unexpected = Problem(500, f"an unexpected error; the log has it under {id_}", "internal", id=id_)
                await unexpected.response()(scope, receive, answer)
            finally:
                self._count(scope, status, time.perf_counter() - begin)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "unmatched"
        if scope["path"].startswith(PREFIX) and route != "unmatched":
            route = PREFIX + route  # a router's routes do not know where it was included
        method = scope["method"] if scope["method"] in _METHODS else "other"
        _requests.labels(method, route, str(status or "none")).inc()
        if not route.endswith("/stream"):  # those last as long as somebody listens
            _duration.labels(method, route).observe(seconds)
        _log.debug("request", method=method, path=scope["path"], status=status, seconds=round(seconds, 4))


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""Anything else becomes one label, as clients may send any word."""
