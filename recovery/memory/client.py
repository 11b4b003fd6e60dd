"""The trainer's side of its keeper: a connection that comes back after the keeper does, and the slots it may write."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

from offbeat.recovery.memory import calls, region
from offbeat.recovery.memory.desk import SOCKET
from offbeat.recovery.memory.frames import Channel, FrameError
from offbeat.recovery.memory.slot import Slot, SlotError, open_slot

CALL_SECONDS = 5.0
"""For a keeper to answer what costs it nothing; one that is stopped must not hold a snapshot for longer."""


class KeeperGoneError(Exception):
    """No keeper answers."""


def keeper_directory() -> Path:
    """Return where this user's keeper is: `OFFBEAT_KEEPER_DIR`, else shared memory."""
    return Path(os.environ.get("OFFBEAT_KEEPER_DIR") or f"/dev/shm/offbeat-keeper-{os.getuid()}")  # noqa: S108 - 0700


class KeeperClient:
    """Calls to the keeper of this host, from any thread, one at a time."""

    def __init__(self, directory: Path) -> None:
        """Speak to the keeper of *directory*, once there is something to say."""
        self._path = str(directory / SOCKET)
        self._channel: Channel | None = None
        self._lock = threading.Lock()

    def call(self, name: str, /, *, seconds: float | None = CALL_SECONDS, **fields: Any) -> dict[str, Any]:
        """Call the keeper, connecting first where there is no connection.

        Args:
            name: Of the call.
            seconds: To wait for; None for as long as it takes.
            fields: Its arguments.

        Raises:
            KeeperGoneError: There is none, or it did not answer in time.
            Exception: What the keeper said, see `calls.KINDS`.
        """
        with self._lock:
            return self._call(name, seconds, fields)

    def _call(self, name: str, seconds: float | None, fields: dict[str, Any]) -> dict[str, Any]:
        for attempt in (0, 1):
            fresh = self._channel is None
            try:
                if self._channel is None:
                    self._channel = self._connect()
                self._channel.socket.settimeout(seconds)
                return calls.call(self._channel, name, **fields)[0]
            except PermissionError:
                raise
            except (OSError, FrameError) as error:
                self._drop()
                # A connection that an earlier keeper closed says nothing about the one that may be there now.
                if fresh or attempt or isinstance(error, TimeoutError):
                    raise KeeperGoneError(f"no keeper answers at {self._path}: {error}") from None
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _connect(self) -> Channel:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(CALL_SECONDS)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return Channel(connection)


class Slots:
    """The slots of this rank, mapped and locked for as long as this process lives."""

    def __init__(self, paths: list[str], nbytes: int) -> None:
        """Open those at *paths*, made for images of *nbytes*.

        Raises:
            KeeperGoneError: They are not there.
        """
        self._open: dict[str, tuple[int, Slot]] = {}
        self._locked: set[str] = set()
        self.nbytes = nbytes
        try:
            for path in paths:
                self._open[Path(path).name] = open_slot(Path(path))
        except (OSError, SlotError) as error:
            self.close()
            raise KeeperGoneError(f"{error}") from None

    def held(self) -> list[str]:
        """Return the slots that are locked for us, having tried again to lock the others."""
        for name, (descriptor, _) in self._open.items():
            if name not in self._locked and region.lock(descriptor):
                self._locked.add(name)
        return sorted(self._locked)

    def __getitem__(self, name: str) -> Slot:
        """Return a slot by its name; KeyError where it is not open."""
        return self._open[name][1]

    def close(self) -> None:
        """Close the files; a process that closes one gives its lock up."""
        for descriptor, _ in self._open.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._open.clear()
        self._locked.clear()
