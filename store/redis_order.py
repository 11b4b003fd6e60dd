"""The numbers that tell a reader whether it saw every message of every writer, and each of them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WRITER, NUMBER = b"w", b"n"
"""Fields of an entry: who wrote it, and its number among that writer's entries of the stream."""


class Order:
    """What one reader has seen of one stream."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._last: dict[bytes, int] = {}

    def take(self, fields: Mapping[bytes, bytes]) -> int | None:
        """Take an entry in.

        Returns:
            How many entries of its writer were missed right before it; None when it was seen before.
        """
        writer, number = fields.get(WRITER, b""), int(fields.get(NUMBER, b"0"))
        last = self._last.get(writer)
        if last is not None and number <= last:
            return None
        self._last[writer] = number
        return 0 if last is None else number - last - 1
