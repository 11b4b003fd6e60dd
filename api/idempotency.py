"""POSTs with an `Idempotency-Key`: sent twice, carried out once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from starlette.responses import Response

from offbeat.api.access import authenticate
from offbeat.api.problems import Problem
from offbeat.api.state import Shared, State
from offbeat.store import Principal


class Once:
    """Carries a request out, unless the same was carried out before."""

    def __init__(self, state: State, principal: Principal, key: str | None, fingerprint: str) -> None:
        """Serve the request of *principal* that hashes to *fingerprint*; without *key* it is carried out every time."""
        self._keys = state.store.idempotency
        self._principal = principal.id
        self._key = key
        self._fingerprint = fingerprint

    def __call__(self, act: Callable[[], dict[str, Any]], *, status: int = 200, secret: str = "") -> Any:
        """Return what *act* returns, or the answer it gave before.

        Args:
            act: Does it, and returns the answer's JSON.
            status: Status of the answer.
            secret: Member of the answer that is not remembered, because the database must not hold it.

        Raises:
            Problem: The same request is being carried out right now (409).
        """
        if self._key is None:
            return act()
        before = self._keys.claim(self._principal, self._key, self._fingerprint)
        if before is not None:
            if before.status is None:
                raise Problem(409, "the same request is being carried out", "in-progress", retry_after=1)
            return Response(before.body, before.status, media_type="application/json")
        try:
            answer = act()
        except BaseException:
            self._keys.release(self._principal, self._key)
            raise
        kept = {**answer, secret: None} if secret else answer
        self._keys.finish(self._principal, self._key, status, json.dumps(kept).encode())
        return answer


async def _once(
    request: Request,
    state: Shared,
    principal: Annotated[Principal, Depends(authenticate)],
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="repeats of a request carry the same key")
    ] = None,
) -> Once:
    content = b"\0".join((request.method.encode(), request.url.path.encode(), await request.body()))
    return Once(state, principal, idempotency_key, hashlib.sha256(content).hexdigest())


RunOnce = Annotated[Once, Depends(_once)]
