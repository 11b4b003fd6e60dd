"""Which sockets belong to which rank, from the open files of the ranks' processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.collector.source import LocalRank

RESCAN_NS = 5_000_000_000
"""Longest time between two looks at all open files; without it a socket number used again names its former owner."""


class SocketOwners:
    """Socket inode → rank. Reading all open files is costly, so it is done only when something new shows up."""

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        """Know nothing yet."""
        self._proc = proc
        self._owners: dict[int, LocalRank] = {}
        self._others: set[int] = set()
        self._users: set[int] = set()
        self._store_ports: dict[int, int] = {}
        self._ranks: tuple[LocalRank, ...] = ()
        self._scanned_at = 0

    def update(self, ranks: Sequence[LocalRank], now: int) -> None:
        """Take *ranks* as those alive at *now* (monotonic ns); looks at open files if they changed or time is up."""
        if tuple(ranks) != self._ranks or now - self._scanned_at >= RESCAN_NS:
            self._ranks = tuple(ranks)
            self.scan(now)

    def scan(self, now: int) -> None:
        """Look at the open files of all ranks."""
        self._scanned_at = now
        self._owners = {}
        self._others = set()
        self._users = set()
        for rank in self._ranks:
            directory = self._proc / str(rank.pid)
            try:
                self._users.add(directory.stat().st_uid)
                for inode in _socket_inodes(directory / "fd"):
                    self._owners[inode] = rank
            except OSError:  # ended, or not ours to look into
                continue
            if rank.pid not in self._store_ports:
                self._store_ports[rank.pid] = _master_port(directory)
        self._store_ports = {rank.pid: self._store_ports.get(rank.pid, 0) for rank in self._ranks}

    def may_own(self, inode: int, user: int) -> bool:
        """Say whether a socket of *user* is a rank's or might be, and is worth reading."""
        return inode in self._owners or (user in self._users and inode not in self._others)

    def owner(self, inode: int) -> LocalRank | None:
        """Return the rank that has a socket open."""
        return self._owners.get(inode)

    def not_ours(self, inodes: set[int]) -> None:
        """Remember sockets that no rank has open, until the next scan."""
        self._others |= inodes

    def is_store(self, rank: LocalRank, local_port: int, remote_port: int) -> bool:
        """Say whether a connection is the job's rendezvous store, which tells nothing of the network's health."""
        port = self._store_ports.get(rank.pid, 0)
        return port != 0 and port in (local_port, remote_port)


def _socket_inodes(directory: Path) -> list[int]:
    found = []
    for name in procfs.names(directory):
        try:
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115 - hundreds of files a rank
        except OSError:  # closed since the listing
            continue
        if target.startswith("socket:["):
            found.append(int(target[8:-1]))
    return found


def _master_port(directory: Path) -> int:
    try:
        environment = procfs.read(directory / "environ").split(b"\0")
    except OSError:
        return 0
    for entry in environment:
        if entry.startswith(b"MASTER_PORT="):
            text = entry[12:]
            return int(text) if text.isdigit() else 0
    return 0
