"""The processes that the demo starts, and ends by their pids whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from offbeat.cli.demo.interrupts import undisturbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOP_SECONDS = 5.0
"""How long a process may take to end by itself before it is killed; agents flush their spool in it."""


class Process:
    """One program, its output in a file.

    It leads a session of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends the rest in
    order.
    """

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - no shell; the demo's own programs
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Their hosts are on this machine, where no proxy leads.
                env={**os.environ, "no_proxy": "*", **(env or {})},
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send the signal *number*, if the process is still there."""
        self._popen.send_signal(number)  # looks whether it has ended, so another process never gets it

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most *seconds*; return whether it came."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def tail(self, lines: int = 15) -> str:
        """Return the last *lines* of its output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class Processes:
    """All processes of one run; leaving the context ends those that are left, the youngest first."""

    def __init__(self) -> None:
        self._all: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._all)

    def start(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
        """Start *argv*, its output in *log*."""
        with undisturbed():
            process = Process(argv, log, env)
            self._all.append(process)
        return process


def end(processes: Sequence[Process]) -> None:
    """End *processes*, the youngest first: asked, and after `STOP_SECONDS` killed."""
    left = [process for process in reversed(processes) if process.exit_code is None]
    for process in left:
        process.send(signal.SIGCONT)  # a stopped process would not hear the next one
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in left:
        if not process.wait(max(0.0, deadline - time.monotonic())):
            process.send(signal.SIGKILL)
            process.wait(STOP_SECONDS)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
