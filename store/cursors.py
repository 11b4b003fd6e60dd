"""Page cursors: text that people hand back as they got it."""

from __future__ import annotations

from offbeat.store.errors import CursorError


def number(cursor: str) -> int:
    """Return the number *cursor* stands for.

    Raises:
        CursorError: It is none.
    """
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 19 and int(cursor) < 1 << 63):
        raise CursorError(f"no such cursor: {cursor[:40]!r}")
    return int(cursor)


def pair(cursor: str) -> tuple[int, str]:
    """Return the number and the name that `of_pair` made *cursor* of.

    Raises:
        CursorError: It did not.
    """
    head, _, name = cursor.partition("-")
    if not name:
        raise CursorError(f"no such cursor: {cursor[:40]!r}")
    return number(head), name


def of_pair(value: int, name: str) -> str:
    """Return the cursor for a place in a list ordered by number, then name."""
    return f"{value}-{name}"
