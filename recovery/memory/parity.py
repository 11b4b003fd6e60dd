"""Making and remaking what a host keeps for its group: parity of an epoch, and the images of a host that was lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.recovery.memory import coding, sums
from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch, Seal
from offbeat.recovery.memory.epochs import Sources
from offbeat.recovery.memory.isal import crc32
from offbeat.recovery.memory.job import AbsentError, Job, StaleError
from offbeat.recovery.memory.manifest import Manifest
from offbeat.recovery.memory.placement import data_stripe, holders, parity_stripe
from offbeat.recovery.memory.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from offbeat.recovery.memory.hosts import Hosts
    from offbeat.recovery.memory.job import Room
    from offbeat.recovery.memory.manifest import Member
    from offbeat.recovery.memory.vault import Vault

AT_ONCE = 4
"""Chunks worked on at the same time when coding: enough to hide a round trip."""
CHAINS_MORE = 2
"""Chains at once beyond one a hop: each host on the way must have something to send at every moment."""


class Parity:
    """Codes and rebuilds on this host, as a leader orders."""

    def __init__(self, vault: Vault, hosts_of: Callable[[str], Hosts]) -> None:
        """Work on *vault* with chunks of other hosts."""
        self._vault, self._hosts_of = vault, hosts_of
        self._tasks = Tasks()

    def handlers(self) -> Mapping[str, Any]:
        """Return the calls by name."""
        return {"code": self.code, "rebuild": self.rebuild, "progress": self.progress}

    def code(self, job: str, generation: int, manifest: str, member: int) -> dict[str, Any]:
        """Begin to make the parity that *member* of the group keeps; `progress` tells when it is done."""
        work = _Work(self._vault.job(job), generation, Manifest.parse(manifest), member, self._hosts_of(job))
        self._tasks.start((job, generation, work.manifest.epoch, "code"), work.code)
        return {}

    def rebuild(
        self, *, job: str, generation: int, manifest: str, member: int, data: dict[str, str], parity: dict[str, str]
    ) -> dict[str, Any]:
        """Begin to make anew what *member* of the group kept, from what is left on other hosts."""
        work = _Work(self._vault.job(job), generation, Manifest.parse(manifest), member, self._hosts_of(job))
        left = [{int(index): str(host) for index, host in given.items()} for given in (data, parity)]
        sources = Sources(work.manifest, *left)
        self._tasks.start((job, generation, work.manifest.epoch, "rebuild"), lambda: work.rebuild(sources))
        return {}

    def progress(self, job: str, generation: int, epoch: list[int], what: str) -> dict[str, Any]:
        """Tell whether the work is done, and what it failed at."""
        return self._tasks.state((job, generation, Epoch(*epoch), what))


class _Work:
    """One member's part of one epoch."""

    def __init__(self, job: Job, generation: int, manifest: Manifest, member: int, hosts: Hosts) -> None:
        job.admit(generation)
        if manifest.job != job.name or not 0 <= member < len(manifest.members):
            raise ValueError(f"a manifest of job {manifest.job} for member {member}")
        self.job, self.generation, self.manifest, self.member = job, generation, manifest, member
        self._hosts = hosts
        self._code = coding.Code(manifest.k, manifest.m)
        self._own = threading.local()

    def code(self) -> None:
        """Make this member's parity from the pieces of the others."""
        manifest = self.manifest
        self._check_own()
        room = self._parity_room()
        units = [(piece, at) for piece in range(manifest.m) for at in range(manifest.piece)]
        self._all(room, units, self._encode, AT_ONCE)

    def _encode(self, room: Room, piece: int, at: int) -> int:
        manifest, size = self.manifest, len(self.manifest.members)
        stripe = parity_stripe(self.member, piece, size, manifest.k)
        target = self._parity_chunk(room, piece, at)
        target[:] = 0
        for shard, member in enumerate(holders(stripe, size, manifest.k, manifest.m)[: manifest.k]):
            place = manifest.place(member, shard * manifest.piece + at)
            if place is None:
                continue
            source = manifest.members[member].shards[place.shard]
            fields = {"epoch": manifest.epoch, "kind": DATA, "rank": source.seal.rank, "at": place.at}
            found = self._call(manifest.members[member].host, "part", **fields)
            if found.nbytes != place.nbytes or crc32(found) != source.sums[place.at]:
                raise AbsentError(f"chunk {place.at} of rank {source.seal.rank} is not what the manifest says")
            coding.add(target[: found.nbytes], self._code.rows[manifest.k + piece][shard], found)
        return crc32(target)

    def rebuild(self, sources: Sources) -> None:
        """Make this member's images and parity anew; each chunk of an image must have its checksum of the manifest."""
        manifest, base = self.manifest, 0
        for shard in manifest.members[self.member].shards:
            if not self._whole(shard.seal):
                self._rebuild_image(sources, shard.seal, shard.sums, base)
            base += len(shard.sums)
        try:
            _, seal = self.job.find(PARITY, self.member, manifest.epoch)
            done = seal.fingerprint == manifest.digest
        except AbsentError:
            done = False
        if not done:
            room = self._parity_room()
            units = [(piece, at) for piece in range(manifest.m) for at in range(manifest.piece)]
            self._all(room, units, lambda *unit: self._restore_parity(sources, *unit), manifest.k + CHAINS_MORE)

    def _rebuild_image(self, sources: Sources, seal: Seal, sums_: NDArray[np.uint32], base: int) -> None:
        manifest = self.manifest
        rooms = self.job.open(seal.rank, self.generation, seal.nbytes, manifest.chunk)
        room = self.job.grant(seal.rank, self.generation, [r.path.name for r in rooms])
        room.slot.begin()

        def one(at: int) -> None:
            piece, inside = divmod(base + at, manifest.piece)
            stripe = data_stripe(self.member, piece, len(manifest.members))
            found = self._sum(sources, stripe, piece, inside)
            target = room.slot.data[at * manifest.chunk : min((at + 1) * manifest.chunk, seal.nbytes)]
            target[:] = found[: target.nbytes]
            if crc32(target) != sums_[at]:
                raise AbsentError(f"chunk {at} of rank {seal.rank} was rebuilt to something else")

        with ThreadPoolExecutor(manifest.k + CHAINS_MORE) as pool:
            list(pool.map(one, range(len(sums_))))
        room.slot.seal(seal, sums_)

    def _restore_parity(self, sources: Sources, room: Room, piece: int, at: int) -> int:
        stripe = parity_stripe(self.member, piece, len(self.manifest.members), self.manifest.k)
        target = self._parity_chunk(room, piece, at)
        target[:] = self._sum(sources, stripe, self.manifest.k + piece, at)
        return crc32(target)

    def _sum(self, sources: Sources, stripe: int, wanted: int, at: int) -> NDArray[np.uint8]:
        hops = sums.chain(sources, stripe, wanted, at, self._code)
        if not hops:
            return np.zeros(self.manifest.chunk, np.uint8)
        fields = {"epoch": self.manifest.epoch, "length": self.manifest.chunk, "hops": hops}
        found = self._call(hops[0].host, "sum", **fields)
        if found.nbytes != self.manifest.chunk:
            raise AbsentError(f"{hops[0].host} sent {found.nbytes} bytes for {self.manifest.chunk}")
        return found

    def _all(self, room: Room, units: list[tuple[int, int]], make: Callable[..., int], at_once: int) -> None:
        """Make all chunks of the parity, then seal it; the manifest lies beside it before it counts."""
        manifest = self.manifest
        room.slot.begin()
        with ThreadPoolExecutor(at_once) as pool:
            table = list(pool.map(lambda unit: make(room, *unit), units))
        self._still()
        self.job.write_manifest(manifest.epoch, manifest.text())
        world = manifest.members[0].shards[0].seal.world
        nbytes = manifest.m * manifest.piece * manifest.chunk
        seal = Seal(self.job.name, PARITY, self.member, world, *manifest.epoch, nbytes, manifest.digest, 0, 0)
        room.slot.seal(seal, np.array(table, np.uint32))

    def _parity_room(self) -> Room:
        manifest = self.manifest
        return self.job.for_parity(manifest.m * manifest.piece * manifest.chunk, manifest.chunk)

    def _parity_chunk(self, room: Room, piece: int, at: int) -> NDArray[np.uint8]:
        begin = (piece * self.manifest.piece + at) * self.manifest.chunk
        return room.slot.data[begin : begin + self.manifest.chunk]

    def _check_own(self) -> None:
        member: Member = self.manifest.members[self.member]
        for shard in member.shards:
            if not self._here(shard.seal):
                raise AbsentError(f"rank {shard.seal.rank} is not here as the manifest says")

    def _here(self, seal: Seal) -> bool:
        try:
            _, found = self.job.find(DATA, seal.rank, seal.epoch)
        except AbsentError:
            return False
        return found.face == seal.face

    def _whole(self, seal: Seal) -> bool:
        """Tell whether an image is here with all its checksums; a damaged one is void from then on."""
        if not self._here(seal):
            return False
        room, found = self.job.find(DATA, seal.rank, seal.epoch)
        if room.slot.damage(found):
            room.slot.begin()
            return False
        return True

    def _call(self, host: str, name: str, **fields: Any) -> NDArray[np.uint8]:
        self._still()
        buffer = getattr(self._own, "buffer", None)
        if buffer is None:
            buffer = self._own.buffer = np.empty(self.manifest.chunk, np.uint8)
        given = {"job": self.job.name, "generation": self.generation, **fields}
        _, found = self._hosts.call(host, name, buffer, **given)
        return np.asarray(found) if isinstance(found, np.ndarray) else np.frombuffer(found, np.uint8)

    def _still(self) -> None:
        if self.job.state.generation != self.generation:
            raise StaleError("a newer generation began")
