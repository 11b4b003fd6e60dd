"""Lists in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import Query

from offbeat.store import CursorError, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

Cursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500, description="items a page")]


def cut(rows: Sequence[T], name: Callable[[T], str], cursor: str | None, limit: int) -> Page[T]:
    """Return the page of *rows* after the row called *cursor*.

    Raises:
        CursorError: No row is called so (any more).
    """
    begin = 0
    if cursor is not None:
        begin = 1 + next((at for at, row in enumerate(rows) if name(row) == cursor), -1)
        if begin == 0:
            raise CursorError("the cursor names nothing in this list; start again without it")
    items = tuple(rows[begin : begin + limit])
    return Page(items, name(items[-1]) if begin + limit < len(rows) else None)
