"""Which epochs can be restored: decided from an inventory of seals alone, never from what somebody remembers.

An epoch is restorable if every rank of its world has a seal of it on some host, or is in a coded group of which enough
stripes are left. All of its seals must agree, or it is none: a state mixed of two is worse than an older one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch, Seal
from offbeat.recovery.memory.placement import holders

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from offbeat.recovery.memory.manifest import Manifest

NAMED = 16
"""Ranks or reasons named one by one."""


@dataclass
class Sources:
    """Where the parts of one group's epoch are: member → host, for its data and for its parity."""

    manifest: Manifest
    data: dict[int, str] = field(default_factory=dict)
    parity: dict[int, str] = field(default_factory=dict)

    def shards(self, stripe: int) -> dict[int, str]:
        """Return the hosts of the shards of *stripe* that are left."""
        k, m, size = self.manifest.k, self.manifest.m, len(self.manifest.members)
        found = {}
        for shard, member in enumerate(holders(stripe, size, k, m)):
            host = (self.data if shard < k else self.parity).get(member)
            if host is not None:
                found[shard] = host
        return found

    def decodable(self) -> bool:
        """Tell whether every stripe has k shards left."""
        return all(len(self.shards(stripe)) >= self.manifest.k for stripe in range(len(self.manifest.members)))


@dataclass
class Verdict:
    """One epoch: whether it can be restored, from where, or what is missing."""

    epoch: Epoch
    world: int = 0
    ranks: dict[int, str] = field(default_factory=dict)
    """Rank → host that has its image whole."""
    coded: list[Sources] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What is missing, in words; empty where the epoch can be restored."""

    @property
    def restorable(self) -> bool:
        """Whether every rank has its image or can have it rebuilt."""
        return not self.missing

    @property
    def rebuilt(self) -> list[int]:
        """The ranks that have to be rebuilt."""
        return sorted(set(range(self.world)) - set(self.ranks))

    def words(self) -> str:
        """Return why it cannot be restored."""
        more = f" and {len(self.missing) - NAMED} more" if len(self.missing) > NAMED else ""
        return f"{self.epoch}: {'; '.join(self.missing[:NAMED])}{more}"


def judge(epoch: Epoch, inventory: Mapping[str, Sequence[Seal]], manifests: Iterable[Manifest]) -> Verdict:
    """Judge one epoch.

    Args:
        epoch: Which.
        inventory: Host → seals of what is whole there.
        manifests: Those that hosts have of this epoch.
    """
    verdict = Verdict(epoch)
    found = [(host, s) for host, seals in sorted(inventory.items()) for s in seals if s.epoch == epoch]
    coded = _coded(epoch, found, manifests)
    seals = [s for _, s in found if s.kind == DATA]
    seals += [shard.seal for c in coded for member in c.manifest.members for shard in member.shards]
    worlds = {seal.world for seal in seals}
    if len(worlds) != 1:
        said = "nothing of it is left" if not worlds else f"its seals speak of {sorted(worlds)} ranks"
        verdict.missing.append(said)
        return verdict
    verdict.world = worlds.pop()
    faces: dict[int, set[tuple[str, int, int]]] = defaultdict(set)
    for seal in seals:
        faces[seal.rank].add((seal.fingerprint, seal.nbytes, seal.table))
    verdict.missing += [f"rank {rank} has several states" for rank in sorted(faces) if len(faces[rank]) > 1]
    verdict.missing += [f"rank {rank} is outside of 0..{verdict.world - 1}" for rank in faces if rank >= verdict.world]
    verdict.ranks = {seal.rank: host for host, seal in found if seal.kind == DATA}
    verdict.coded = coded
    can = {rank for c in coded if c.decodable() for member in c.manifest.members for rank in member.ranks}
    for rank in verdict.rebuilt:
        if rank not in can:
            group = next((c for c in coded if any(rank in member.ranks for member in c.manifest.members)), None)
            verdict.missing.append(f"rank {rank}{_why(group)}")
    return verdict


def newest(
    inventory: Mapping[str, Sequence[Seal]], manifests: Sequence[Manifest]
) -> tuple[Verdict | None, list[Verdict]]:
    """Return the newest epoch that can be restored, or None, and the newer ones that cannot."""
    rejected: list[Verdict] = []
    epochs = {seal.epoch for seals in inventory.values() for seal in seals}
    for epoch in sorted(epochs, reverse=True):
        verdict = judge(epoch, inventory, [m for m in manifests if m.epoch == epoch])
        if verdict.restorable:
            return verdict, rejected
        rejected.append(verdict)
    return None, rejected


def _coded(epoch: Epoch, found: Sequence[tuple[str, Seal]], manifests: Iterable[Manifest]) -> list[Sources]:
    """Return what is left of each coded group, parity only where it was made with the same manifest."""
    groups = []
    for manifest in {m.digest: m for m in manifests if m.epoch == epoch}.values():
        sources = Sources(manifest)
        for index, member in enumerate(manifest.members):
            wanted = {shard.seal.face for shard in member.shards}
            for host in sorted({host for host, _ in found}):
                here = [seal for at, seal in found if at == host]
                if wanted <= {seal.face for seal in here}:
                    sources.data[index] = host
                parity = {seal.fingerprint for seal in here if seal.kind == PARITY and seal.rank == index}
                if manifest.digest in parity:
                    sources.parity[index] = host
        groups.append(sources)
    return groups


def _why(group: Sources | None) -> str:
    if group is None:
        return " was on a host that is gone, and was not coded"
    size = len(group.manifest.members)
    fewest = min(len(group.shards(stripe)) for stripe in range(size))
    code = f"{group.manifest.k}+{group.manifest.m}"
    return f": {fewest} of {code} shards are left where {group.manifest.k} are needed"
