"""What ends a command with one line instead of a traceback."""

from __future__ import annotations

CANNOT = 3
"""Exit code when a command could not tell or could not do what was asked; 1 says that a job is not healthy."""


class CliError(Exception):
    """A command cannot go on; the message is one line for the person who typed it."""

    def __init__(self, message: str, exit_code: int = CANNOT) -> None:
        super().__init__(message)
        self.exit_code = exit_code
