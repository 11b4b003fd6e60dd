"""What a keeper does for the trainers of its host, and for people on it, over the socket in its directory."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import epochs
from offbeat.recovery.memory.epoch import DATA, Epoch
from offbeat.recovery.memory.job import AbsentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.recovery.memory.calls import Handler
    from offbeat.recovery.memory.director import Director
    from offbeat.recovery.memory.vault import Vault

SOCKET = "keeper.socket"
_CREDENTIALS = struct.Struct("3i")


class Desk:
    """The calls of trainers and of commands on this host."""

    def __init__(
        self, vault: Vault, host: str, uid: int, director: Director, parity_share: Callable[[str], float]
    ) -> None:
        """Serve *vault*.

        Args:
            vault: What is held.
            host: Our name.
            uid: Whose keeper it is.
            director: Who decides.
            parity_share: Job → m / k of its code, for the budget.
        """
        self._vault, self._host, self._uid = vault, host, uid
        self._director, self._parity_share = director, parity_share
        self._told: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def handlers(self) -> dict[str, Handler]:
        """Return the calls by name."""
        return {name: getattr(self, name) for name in ("begin", "open", "grant", "sealed", "state", "epochs", "forget")}

    def begin(self, job: str, world: int) -> dict[str, Any]:
        """Give a start of a job its generation and the epoch it resumes from."""
        self._vault.begin(job, self._uid)
        found = self._director.begin(job, world)
        return {"generation": found.generation, "epoch": found.epoch, "missing": found.missing}

    def open(self, job: str, rank: int, generation: int, nbytes: int, chunk: int) -> dict[str, Any]:
        """Return the files of a rank's slots."""
        rooms = self._vault.begin(job, self._uid).open(rank, generation, nbytes, chunk, self._parity_share(job))
        return {"slots": [str(room.path) for room in rooms]}

    def grant(self, job: str, rank: int, generation: int, held: list[str]) -> dict[str, Any]:
        """Say which slot may be written."""
        return {"slot": self._vault.job(job).grant(rank, generation, held).path.name}

    def sealed(self, job: str, rank: int, generation: int, figures: dict[str, Any]) -> dict[str, Any]:
        """Hear that a rank has sealed a slot; what it says of itself is shown, and nothing is decided by it."""
        self._vault.job(job).admit(generation, new=False)
        with self._lock:
            self._told.setdefault(job, {})[str(rank)] = figures
        self._director.sealed(job)
        return {}

    def state(self, job: str, rank: int, epoch: list[int]) -> dict[str, Any]:
        """Return the file that holds a rank's part of an epoch, all checksums compared just now."""
        room, seal = self._vault.job(job).find(DATA, rank, Epoch(*epoch))
        damage = room.slot.damage(seal)
        if damage:
            raise AbsentError(f"job {job}: rank {rank} of {seal.epoch}: {damage}")
        return {"path": str(room.path), "seal": seal}

    def epochs(self, job: str | None = None) -> dict[str, Any]:
        """Tell what this host holds."""
        told = []
        for name in self._vault.names() if job is None else [job]:
            held = self._vault.job(name)
            seals = held.inventory()
            with self._lock:
                figures = dict(self._told.get(name, {}))
            told.append(
                {
                    "job": name,
                    "generation": held.state.generation,
                    "committed": held.state.committed,
                    "protected": sorted(held.state.protected),
                    "bytes": held.bytes(),
                    "epochs": [_epoch(e, [s for s in seals if s.epoch == e], self._host) for e in _newest_first(seals)],
                    "ranks": figures,
                }
            )
        return {"host": self._host, "at": time.time_ns(), "jobs": told}

    def forget(self, job: str) -> dict[str, Any]:
        """Give a job's memory back."""
        self._vault.forget(job)
        with self._lock:
            self._told.pop(job, None)
        return {}

    def admit(self, connection: socket.socket) -> None:
        """Let the keeper's own user and root in.

        Raises:
            PermissionError: It is somebody else.
        """
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(found)
        if uid not in {0, self._uid}:
            raise PermissionError(f"this is the keeper of user {self._uid}, not of {uid}")


def _newest_first(seals: list[Any]) -> list[Epoch]:
    return sorted({seal.epoch for seal in seals}, reverse=True)


def _epoch(epoch: Epoch, seals: list[Any], host: str) -> dict[str, Any]:
    """Return what is here of one epoch; `here` says whether this host alone could restore it."""
    data = [seal for seal in seals if seal.kind == DATA]
    return {
        "generation": epoch.generation,
        "step": epoch.step,
        "world": max((seal.world for seal in data), default=0),
        "ranks": sorted(seal.rank for seal in data),
        "parity": len(data) < len(seals),
        "bytes": sum(seal.nbytes for seal in seals),
        "sealed_at": max(seal.sealed_at for seal in seals),
        "here": epochs.judge(epoch, {host: data}, []).restorable,
    }
