"""What a reader raises."""

from __future__ import annotations


class ReadError(ValueError):
    """A file cannot be read as what it seems to be; the message is the reason, without the file's name."""
