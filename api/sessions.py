"""Log-ins of people at a browser: a session behind a cookie, and the one-time codes that `offbeat up` prints."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.store import Principal

SESSION_SECONDS = 12 * 3600.0
"""How long a session lasts without being used; without an end a forgotten browser stays logged in."""
CODE_SECONDS = 600.0
"""How long a printed log-in code can be used; it stays readable in a terminal's scrollback."""
MOST = 1000
"""Sessions and codes kept, the least used go first; without it log-ins fill the memory."""


@dataclass(slots=True)
class _Entry:
    principal: Principal
    until: float


class _Secrets:
    """Random words that stand for a principal for a while; only their hashes are kept."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def create(self, principal: Principal) -> str:
        word = secrets.token_urlsafe(32)
        with self._lock:
            self._entries[_hash(word)] = _Entry(principal, self._clock() + self._seconds)
            while len(self._entries) > MOST:
                self._entries.popitem(last=False)
        return word

    def take(self, word: str, *, keep: bool) -> Principal | None:
        with self._lock:
            entry = self._entries.pop(_hash(word), None)
            if entry is None or entry.until < self._clock():
                return None
            if keep:
                entry.until = self._clock() + self._seconds
                self._entries[_hash(word)] = entry
            return entry.principal

    def forget(self, word: str) -> None:
        with self._lock:
            self._entries.pop(_hash(word), None)

    def forget_principal(self, id_: str) -> None:
        with self._lock:
            for key in [key for key, entry in self._entries.items() if entry.principal.id == id_]:
                del self._entries[key]


class Sessions:
    """Who is logged in. Lives in this process: a restart asks everybody to log in again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nobody logged in."""
        self._sessions = _Secrets(SESSION_SECONDS, clock)
        self._codes = _Secrets(CODE_SECONDS, clock)

    def code(self, principal: Principal) -> str:
        """Return a code that logs in as *principal* once, soon."""
        return self._codes.create(principal)

    def redeem(self, code: str) -> Principal | None:
        """Return whom *code* logs in, and spend it; None when it is unknown, spent or too old."""
        return self._codes.take(code, keep=False)

    def open(self, principal: Principal) -> str:
        """Return the cookie value of a new session of *principal*."""
        return self._sessions.create(principal)

    def find(self, cookie: str) -> Principal | None:
        """Return whose session *cookie* names; using it keeps it alive."""
        return self._sessions.take(cookie, keep=True)

    def close(self, cookie: str) -> None:
        """End a session."""
        self._sessions.forget(cookie)

    def close_all(self, principal_id: str) -> None:
        """End all sessions and codes of a token, when it is revoked."""
        self._sessions.forget_principal(principal_id)
        self._codes.forget_principal(principal_id)


def _hash(word: str) -> bytes:
    # The look-up key: a dictionary compares in variable time, which tells nothing about a hash's preimage.
    return hashlib.sha256(word.encode()).digest()
