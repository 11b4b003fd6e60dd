"""Tokens: who may do what. A token is shown once; what is kept is its keyed hash.

A token is `obt_<id>_<secret>`: the id finds the row, 256 random bits are the secret. The key of the hash, the pepper,
is not in the database, so that a stolen copy of the database tells nothing about tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from offbeat.store import audit
from offbeat.store.errors import NotFoundError, StoreError
from offbeat.store.rows import Principal, Role, TokenRow
from offbeat.store.tables import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from offbeat.store.engine import Database

_FORM = re.compile(r"obt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_NO_HASH = bytes(32)


class TokenStore:
    """Tokens by id."""

    def __init__(self, database: Database, pepper: bytes, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*, hashed with *pepper*."""
        self._database = database
        self._pepper = pepper
        self._clock = clock

    def create(self, role: Role, host: str | None = None, note: str = "", who: str = "local") -> tuple[str, TokenRow]:
        """Create a token.

        Args:
            role: What it may do.
            host: The host it reports, for an agent and only for an agent.
            note: What it is for.
            who: Who creates it, for the audit log.

        Returns:
            The token, which nobody can ask for again, and its row.

        Raises:
            ValueError: An agent's token names no host, or another's names one.
        """
        role = Role(role)
        if (role is Role.AGENT) != bool(host):
            raise ValueError("an agent's token names its host, no other token does")
        row = TokenRow(secrets.token_hex(6), role, host or None, note, self._clock())
        text = f"obt_{row.id}_{secrets.token_urlsafe(32)}"
        with self._database.write() as connection:
            connection.execute(
                sa.insert(Tokens).values(
                    id=row.id,
                    hash=self._hash(text),
                    role=str(role),
                    host=row.host,
                    note=note,
                    created_at=row.created_at,
                )
            )
            detail = {"token": row.id, "role": str(role), "host": row.host}
            audit.note(connection, row.created_at, who, "token.create", detail)
        return text, row

    def verify(self, text: str) -> Principal | None:
        """Return who the token *text* speaks for, None when it is wrong or revoked."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(sa.select(Tokens).where(Tokens.id == form[1])).one_or_none()
        # Compared even where there is no row, so that the time taken does not tell which ids exist.
        same = hmac.compare_digest(self._hash(text), _NO_HASH if row is None else row.hash)
        if row is None or not same or row.revoked_at is not None:
            return None
        return Principal(row.id, Role(row.role), row.host)

    def revoke(self, id_: str, who: str = "local") -> None:
        """Make the token with *id_* worthless; again does nothing more.

        Raises:
            NotFoundError: There is no such token.
        """
        at = self._clock()
        with self._database.write() as connection:
            row = connection.execute(sa.select(Tokens).where(Tokens.id == id_).with_for_update()).one_or_none()
            if row is None:
                raise NotFoundError(f"no token {id_!r}")
            if row.revoked_at is None:
                connection.execute(sa.update(Tokens).where(Tokens.id == id_).values(revoked_at=at))
                audit.note(connection, at, who, "token.revoke", {"token": id_})

    def list(self) -> tuple[TokenRow, ...]:
        """Return all tokens, the oldest first."""
        query = sa.select(Tokens).order_by(Tokens.created_at, Tokens.id)
        with self._database.read() as connection:
            return tuple(
                TokenRow(row.id, Role(row.role), row.host, row.note, row.created_at, row.revoked_at)
                for row in connection.execute(query)
            )

    def _hash(self, text: str) -> bytes:
        return hmac.digest(self._pepper, text.encode(), hashlib.sha256)


def pepper(path: Path) -> bytes:
    """Return the key at *path*, made on first use; whoever comes second takes the first one's.

    Raises:
        StoreError: Others may read the file, or it is too short to be one.
    """
    if not path.exists():
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    if path.stat().st_mode & 0o077:
        raise StoreError(f"{path} must be readable by its owner alone: chmod 600 it, and renew the tokens if in doubt")
    key = path.read_bytes()
    if len(key) < 32:
        raise StoreError(f"{path} is no key: it has {len(key)} bytes, 32 are the least")
    return key
