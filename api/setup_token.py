"""The first administrator of a service: a token in a file that its owner alone can read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from offbeat.store import Role

if TYPE_CHECKING:
    from pathlib import Path

    from offbeat.store import Principal, Store


def ensure_admin(store: Store, path: Path) -> Principal:
    """Return the administrator whose token is in the file *path*; made when there is none that works."""
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
    principal = store.tokens.verify(text)
    if principal is not None and principal.role is Role.ADMIN:
        return principal
    text, row = store.tokens.create(Role.ADMIN, note="made by offbeat up", who="offbeat up")
    new = path.with_name(f"{path.name}.{row.id}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text + "\n")
    new.replace(path)
    made = store.tokens.verify(text)
    assert made is not None
    return made
