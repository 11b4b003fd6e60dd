"""What a keeper does for whoever leads the job: tell what it holds, keep it, let it go; each order has a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory.epoch import Epoch
from offbeat.recovery.memory.job import AbsentError
from offbeat.recovery.memory.manifest import Shard

if TYPE_CHECKING:
    from offbeat.recovery.memory.calls import Handler
    from offbeat.recovery.memory.vault import Vault


class Orders:
    """The orders of one keeper. An order of a superseded generation raises StaleError and does nothing."""

    def __init__(self, vault: Vault, uid: int) -> None:
        """Carry them out on *vault*; jobs that are first heard of here belong to *uid*."""
        self._vault, self._uid = vault, uid

    def handlers(self) -> dict[str, Handler]:
        """Return them by name."""
        names = ("generation", "inventory", "manifest", "protect", "commit", "release", "clear", "shards")
        return {name: getattr(self, name) for name in names}

    def generation(self, job: str) -> dict[str, Any]:
        """Tell the highest generation that was seen here; 0 where the job is not known."""
        try:
            return {"generation": self._vault.job(job).state.generation}
        except AbsentError:
            return {"generation": 0}

    def inventory(self, job: str, generation: int, *, verified: bool = False) -> dict[str, Any]:
        """Tell what is here; from now on older generations are refused."""
        found = self._vault.begin(job, self._uid)
        found.admit(generation)
        seals = found.inventory(verified=verified)
        state = found.state
        return {"seals": seals, "committed": state.committed, "protected": sorted(state.protected)}

    def manifest(self, job: str, generation: int, epoch: list[int]) -> tuple[dict[str, Any], bytes]:
        """Return the manifest that this host's parity of an epoch was made with."""
        found = self._vault.job(job)
        found.admit(generation)
        try:
            return {}, found.manifest_file(Epoch(*epoch)).read_bytes()
        except OSError:
            raise AbsentError(f"the manifest of {Epoch(*epoch)} is not here") from None

    def protect(self, job: str, generation: int, epoch: list[int]) -> dict[str, Any]:
        """Keep an epoch from being overwritten; tell whose part of it is here."""
        return {"ranks": self._vault.begin(job, self._uid).protect(generation, Epoch(*epoch))}

    def commit(self, job: str, generation: int, epoch: list[int]) -> dict[str, Any]:
        """Let what is older than an epoch go."""
        self._vault.job(job).commit(generation, Epoch(*epoch))
        return {}

    def release(self, job: str, generation: int, epoch: list[int]) -> dict[str, Any]:
        """Take a protection back."""
        self._vault.job(job).release(generation, Epoch(*epoch))
        return {}

    def clear(self, job: str, generation: int) -> dict[str, Any]:
        """Let everything go: nothing of it can be restored, and the job begins anew."""
        self._vault.begin(job, self._uid).clear(generation)
        return {}

    def shards(self, job: str, generation: int, epoch: list[int]) -> dict[str, Any]:
        """Tell seals and checksums of this host's part of an epoch, for its manifest."""
        found = self._vault.job(job)
        found.admit(generation)
        told, chunk = [], 0
        for room, seal in found.shards(Epoch(*epoch)):
            chunk = room.slot.chunk
            sums = room.slot.checksums(seal)
            if sums is None:
                raise AbsentError(f"rank {seal.rank} of {seal.epoch}: the table of checksums is damaged")
            told.append(Shard(seal, sums).message())
        return {"shards": told, "chunk": chunk}
