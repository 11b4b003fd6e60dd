"""Who decides which generation a start of a job is, which epoch its ranks resume from, and which one is committed.

`Director` is what keepers rely on. `Leader` fulfils it from the keeper of rank 0, without anybody else; a service that
sees the whole fleet may take its place.

A commit has two rounds, so that at every moment some epoch is kept by all: first every host promises to keep the new
one, then each may let the older go. A host or leader that dies in between leaves two epochs, never none.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from offbeat.recovery.memory import epochs, hosts
from offbeat.recovery.memory.epoch import Epoch, Seal
from offbeat.recovery.memory.job import StaleError
from offbeat.recovery.memory.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from offbeat.recovery.memory.epochs import Verdict


class UndecidedError(Exception):
    """No epoch can be agreed on now: a keeper does not answer, or a rebuild failed; the message says which."""


class WorldError(ValueError):
    """What is held is of another number of ranks than what starts; going on without it is for a person to decide."""


class Beginning(NamedTuple):
    """What one start of a job is told."""

    generation: int
    epoch: Epoch | None
    """What all ranks resume from; None: from nothing."""
    missing: str
    """Which newer epochs could not be restored, and why."""


class Director(Protocol):
    """Decides for all ranks of a job at once."""

    def begin(self, job: str, world: int) -> Beginning:
        """Give a start of *job* with *world* ranks its generation, and the epoch that is ready on every host.

        Raises:
            UndecidedError: It cannot be decided now.
            WorldError: What is held is of another number of ranks.
        """

    def sealed(self, job: str) -> None:
        """Hear that a rank of *job* has sealed an image."""


class Coder(Protocol):
    """Codes epochs across hosts, and rebuilds what was lost."""

    def code(self, job: str, generation: int, epoch: Epoch) -> None:
        """Code a protected epoch; when this returns, every group can lose m hosts.

        Raises:
            Exception: It failed; the epoch is not committed.
        """

    def rebuild(self, job: str, generation: int, verdict: Verdict) -> None:
        """Bring every rank's image to the host where the rank now runs.

        Raises:
            UndecidedError: It failed.
        """


class Leader:
    """Decides for one job, at the keeper of its rank 0."""

    def __init__(self, group: hosts.Hosts, coder: Coder | None, clock: Callable[[], float] = time.time) -> None:
        """Lead the keepers of *group*; without a *coder* nothing is coded."""
        self._group, self._coder, self._clock = group, coder, clock
        self._turn = threading.Lock()
        """One decision at a time: a commit in the middle of a begin would let go of what is being restored."""

    def begin(self, job: str, world: int) -> Beginning:
        """Decide; see `Director`.

        Raises:
            UndecidedError: A keeper does not answer, or a rebuild failed.
            WorldError: What is held is of another number of ranks.
        """
        known = [answer["generation"] for answer in self._all("generation", job=job).values()]
        generation = max(int(self._clock()), *(seen + 1 for seen in known))
        # Every host refuses older generations from here on; an epoch that is still being coded is given up, so that
        # the start does not have to wait for it.
        self._all("inventory", job=job, generation=generation)
        with self._turn:
            inventory = self._inventory(job, generation, verified=True)
            chosen, rejected = epochs.newest(inventory, self._manifests(job, generation, inventory))
            missing = "; ".join(verdict.words() for verdict in rejected)
            if chosen is not None and chosen.world != world:
                said = f"{chosen.epoch} is of {chosen.world} ranks, this start has {world}"
                raise WorldError(f"{said}: memory cannot resume on another number; offbeat epochs --forget {job}")
            if chosen is None:
                self._all("clear", job=job, generation=generation)
                return Beginning(generation, None, missing)
            # Kept before it is read: a trainer that starts early cannot overwrite what a rebuild needs.
            self._all("protect", job=job, generation=generation, epoch=chosen.epoch)
            if self._coder is not None:
                self._coder.rebuild(job, generation, chosen)
            elif chosen.rebuilt:
                raise UndecidedError(f"ranks {chosen.rebuilt} have to be rebuilt, and nothing codes here")
            if not self._protected(job, generation, chosen.epoch, world):
                raise UndecidedError(f"{chosen.epoch} was overwritten meanwhile")
            self._all("commit", job=job, generation=generation, epoch=chosen.epoch)
            return Beginning(generation, chosen.epoch, missing)

    def advance(self, job: str, generation: int) -> Epoch | None:
        """Commit the newest epoch that all ranks have sealed, coded before where there is a coder.

        Returns:
            The epoch, or None where there is no newer one.

        Raises:
            UndecidedError: A keeper does not answer.
            StaleError: The generation is superseded.
        """
        with self._turn:
            answers = self._all("inventory", job=job, generation=generation)
            inventory = {host: _seals(answer) for host, answer in answers.items()}
            done = max((Epoch(*a["committed"]) for a in answers.values() if a["committed"]), default=None)
            self._repeat(job, generation, done, answers)
            epoch = _newest_sealed(inventory, generation, done)
            if epoch is None:
                return None
            world = next(s.world for seals in inventory.values() for s in seals if s.epoch == epoch)
            try:
                if not self._protected(job, generation, epoch, world):
                    raise UndecidedError(f"{epoch} was overwritten before it could be protected")
                if self._coder is not None:
                    self._coder.code(job, generation, epoch)
            except Exception:
                hosts.ask(self._group, self._group.names(), lambda _: ("release", _fields(job, generation, epoch)))
                raise
            self._all("commit", job=job, generation=generation, epoch=epoch)
            return epoch

    def _repeat(self, job: str, generation: int, done: Epoch | None, answers: Mapping[str, dict[str, Any]]) -> None:
        """Tell hosts that missed a commit of it: otherwise the older epoch keeps a slot of theirs for good."""
        behind = [host for host, answer in answers.items() if done and answer["committed"] != list(done)]
        if done is not None and behind:
            hosts.ask(self._group, behind, lambda _: ("commit", _fields(job, generation, done)))

    def _protected(self, job: str, generation: int, epoch: Epoch, world: int) -> bool:
        answers = self._all("protect", job=job, generation=generation, epoch=epoch)
        return {rank for answer in answers.values() for rank in answer["ranks"]} == set(range(world))

    def _inventory(self, job: str, generation: int, *, verified: bool) -> dict[str, list[Seal]]:
        answers = self._all("inventory", job=job, generation=generation, verified=verified)
        return {host: _seals(answer) for host, answer in answers.items()}

    def _manifests(self, job: str, generation: int, inventory: Mapping[str, list[Seal]]) -> list[Manifest]:
        """Fetch each manifest that some parity was made with, from any host that has that parity."""
        found: dict[str, Manifest] = {}
        for host, seals in inventory.items():
            for seal in seals:
                if seal.kind and seal.fingerprint not in found:
                    try:
                        _, text = self._group.call(host, "manifest", **_fields(job, generation, seal.epoch))
                        manifest = Manifest.parse(bytes(text))
                    except Exception:  # noqa: BLE001, S112 - damaged or gone; the next host has a copy of it
                        continue
                    if manifest.digest == seal.fingerprint:
                        found[seal.fingerprint] = manifest
        return list(found.values())

    def _all(self, name: str, **fields: Any) -> dict[str, dict[str, Any]]:
        """Give an order to every host; all of them, or an error."""
        answers = hosts.ask(self._group, self._group.names(), lambda _: (name, fields))
        for host, answer in answers.items():
            if isinstance(answer, StaleError):
                raise answer
            if isinstance(answer, Exception):
                raise UndecidedError(f"keeper of {host}: {name}: {str(answer) or type(answer).__name__}")
        return {host: answer for host, answer in answers.items() if not isinstance(answer, Exception)}


def _fields(job: str, generation: int, epoch: Epoch) -> dict[str, Any]:
    return {"job": job, "generation": generation, "epoch": epoch}


def _seals(answer: dict[str, Any]) -> list[Seal]:
    return [Seal.of(fields) for fields in answer["seals"]]


def _newest_sealed(inventory: Mapping[str, list[Seal]], generation: int, committed: Epoch | None) -> Epoch | None:
    """Return the newest epoch of *generation* that every rank has sealed, if it is newer than what is committed."""
    found = {s.epoch for seals in inventory.values() for s in seals if s.generation == generation}
    for epoch in sorted(found, reverse=True):
        if committed is not None and epoch <= committed:
            return None
        if not epochs.judge(epoch, inventory, []).missing:
            return epoch
    return None
