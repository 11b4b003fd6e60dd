"""Linear combinations of chunks that lie on several hosts, summed on the way from one to the next.

A chunk goes around as a chain: each host adds its own, times a factor, to what the hosts behind it have summed. So the
one who asks receives one chunk, whatever k is: a rebuild is bound by one link's speed, not by k times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.recovery.memory import coding
from offbeat.recovery.memory.epoch import Epoch
from offbeat.recovery.memory.isal import crc32
from offbeat.recovery.memory.job import AbsentError
from offbeat.recovery.memory.placement import holders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from offbeat.recovery.memory.epochs import Sources
    from offbeat.recovery.memory.hosts import Hosts
    from offbeat.recovery.memory.pace import Pace
    from offbeat.recovery.memory.vault import Vault

MAX_CHUNK = 16 << 20
"""Bytes; what a sum may be asked for, so that a peer cannot make us allocate without end."""


class Hop(NamedTuple):
    """One host's part of a sum: which chunk of which image, times which factor."""

    host: str
    factor: int
    kind: int
    rank: int
    at: int


class Sums:
    """Answers for the chunks of this host, as orders of a leader and of peers."""

    def __init__(self, vault: Vault, hosts_of: Callable[[str], Hosts], pace: Pace) -> None:
        """Serve what *vault* protects.

        Args:
            vault: Where chunks are.
            hosts_of: Job → how to reach its hosts.
            pace: What coding traffic may send.
        """
        self._vault, self._hosts_of, self._pace = vault, hosts_of, pace

    def handlers(self) -> Mapping[str, Any]:
        """Return the calls by name."""
        return {"part": self.part, "sum": self.sum}

    def part(
        self, *, job: str, generation: int, epoch: list[int], kind: int, rank: int, at: int
    ) -> tuple[dict[str, Any], memoryview]:
        """Return one chunk, for coding: not faster than the pace allows."""
        found = self._own(job, generation, Hop("", 1, kind, rank, at), Epoch(*epoch))
        self._pace.take(found.nbytes)
        return {}, found.data

    def sum(
        self, *, job: str, generation: int, epoch: list[int], length: int, hops: list[list[Any]]
    ) -> tuple[dict[str, Any], memoryview]:
        """Return the sum over *hops*, of which the first is ours, in *length* bytes."""
        (_, factor, kind, rank, at), *rest = hops
        if not 0 < length <= MAX_CHUNK or not 0 <= factor < 256:
            raise ValueError(f"a sum of {length} bytes with factor {factor}")
        total = np.zeros(length, np.uint8)
        if rest:
            fields = {"job": job, "generation": generation, "epoch": epoch, "length": length, "hops": rest}
            _, found = self._hosts_of(job).call(rest[0][0], "sum", total, **fields)
            if len(found) != length:
                raise ValueError(f"{rest[0][0]} sent {len(found)} bytes for {length}")
            if not np.shares_memory(found, total):
                total[:] = found
        own = self._own(job, generation, Hop("", factor, kind, rank, at), Epoch(*epoch))
        coding.add(total[: own.nbytes], factor, own)
        return {}, total.data

    def _own(self, job: str, generation: int, hop: Hop, epoch: Epoch) -> NDArray[np.uint8]:
        """Return a chunk of ours, compared with its checksum just now.

        Raises:
            AbsentError: It is not here, not protected, or damaged.
        """
        held = self._vault.job(job)
        held.admit(generation)
        if epoch not in held.state.protected:
            raise AbsentError(f"{epoch} is not protected here, and may change while it is read")
        room, seal = held.find(hop.kind, hop.rank, epoch)
        rank, at = hop.rank, hop.at
        sums = room.slot.checksums(seal)
        if sums is None or not 0 <= at < len(sums):
            raise AbsentError(f"rank {rank} of {epoch} has no whole chunk {at}")
        found = room.slot.part(seal, at).copy()
        if crc32(found) != sums[at]:
            raise AbsentError(f"chunk {at} of rank {rank} of {epoch} is damaged")
        return found


def chain(sources: Sources, stripe: int, wanted: int, at: int, code: coding.Code) -> list[Hop]:
    """Return the hops whose sum is chunk *at* of shard *wanted* of a stripe.

    Chunks behind the end of an image are zero and need no hop; the chain begins with another host for each chunk, so
    that all links carry their share.

    Raises:
        coding.CodingError: Fewer than k shards are left.
    """
    manifest = sources.manifest
    size, left = len(manifest.members), sources.shards(stripe)
    if wanted in left:
        factors = {wanted: 1}
    else:
        present = sorted(left)[: manifest.k]
        factors = dict(zip(present, code.coefficients(wanted, present), strict=True))
    hops = []
    for shard, factor in factors.items():
        member = holders(stripe, size, manifest.k, manifest.m)[shard]
        if shard >= manifest.k:
            hops.append(Hop(left[shard], factor, 1, member, (shard - manifest.k) * manifest.piece + at))
            continue
        place = manifest.place(member, shard * manifest.piece + at)
        if place is not None and factor:
            rank = manifest.members[member].shards[place.shard].seal.rank
            hops.append(Hop(left[shard], factor, 0, rank, place.at))
    turn = at % len(hops) if hops else 0
    return hops[turn:] + hops[:turn]
