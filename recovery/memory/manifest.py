"""The manifest of a coded epoch: who held what when it was coded. Every member of the group has a copy.

It is what makes parity readable: without the list of pieces, lengths and checksums, parity is noise; and a rebuilt
image is offered only when every chunk has the checksum that stands here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from offbeat.recovery.memory.epoch import Epoch, Seal
from offbeat.recovery.memory.isal import crc32

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_MEMBERS = 255


class Shard(NamedTuple):
    """One rank's image: its seal and the checksum of each chunk."""

    seal: Seal
    sums: NDArray[np.uint32]

    def message(self) -> list[Any]:
        """Return it as JSON can say it."""
        return [list(self.seal), base64.b64encode(self.sums.astype("<u4").tobytes()).decode()]

    @classmethod
    def of(cls, found: Any) -> Shard:
        """Read it from a message.

        Raises:
            ValueError: It is none, or the checksums are not those that the seal was made with.
        """
        try:
            fields, text = found
            sums = np.frombuffer(base64.b64decode(text, validate=True), "<u4").astype(np.uint32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"not a shard: {error}") from None
        seal = Seal.of(fields)
        if crc32(np.ascontiguousarray(sums).view(np.uint8)) != seal.table:
            raise ValueError(f"rank {seal.rank}: the checksums are not those of its seal")
        return cls(seal, sums)


class Place(NamedTuple):
    """Where one chunk of a member's image lies: in which of its shards, as which chunk, of how many bytes."""

    shard: int
    at: int
    nbytes: int


class Member(NamedTuple):
    """One host of the group, with its ranks' images in the order of their ranks."""

    host: str
    shards: tuple[Shard, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks it held."""
        return tuple(shard.seal.rank for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """One group's part of an epoch, coded k + m in chunks of `chunk` bytes and pieces of `piece` chunks."""

    job: str
    epoch: Epoch
    k: int
    m: int
    chunk: int
    members: tuple[Member, ...]

    @property
    def piece(self) -> int:
        """Chunks of one piece: a k-th of the largest member's image."""
        return max(1, -(-max(sum(len(s.sums) for s in member.shards) for member in self.members) // self.k))

    @property
    def digest(self) -> str:
        """What parity made with this manifest is sealed with."""
        return hashlib.sha256(self.text()).hexdigest()

    def place(self, member: int, at: int) -> Place | None:
        """Return where chunk *at* of a member's image lies; None behind its end, where everything is zero."""
        for index, shard in enumerate(self.members[member].shards):
            count = len(shard.sums)
            if at < count:
                return Place(index, at, min(self.chunk, shard.seal.nbytes - at * self.chunk))
            at -= count
        return None

    def text(self) -> bytes:
        """Return it as it is sent and kept."""
        found = {
            "schema": "offbeat.manifest/1",
            "job": self.job,
            "epoch": self.epoch,
            "code": [self.k, self.m],
            "chunk": self.chunk,
            "members": [[member.host, [shard.message() for shard in member.shards]] for member in self.members],
        }
        return json.dumps(found, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes | str) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: It is none; the message says why.
        """
        try:
            found = json.loads(text)
            k, m = map(int, found["code"])
            chunk, epoch = int(found["chunk"]), Epoch(*map(int, found["epoch"]))
            members = tuple(
                Member(str(host), tuple(Shard.of(shard) for shard in shards)) for host, shards in found["members"]
            )
            manifest = cls(str(found["job"]), epoch, k, m, chunk, members)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a manifest: {type(error).__name__}: {error}") from None
        manifest.check()
        return manifest

    def check(self) -> None:
        """See that it speaks of one epoch, and of each rank once.

        Raises:
            ValueError: It does not.
        """
        if self.k < 1 or self.m < 1 or not self.k + self.m <= len(self.members) <= MAX_MEMBERS or self.chunk < 1:
            raise ValueError(f"a manifest of {len(self.members)} hosts for {self.k}+{self.m}")
        seals = [shard.seal for member in self.members for shard in member.shards]
        if len({seal.rank for seal in seals}) != len(seals):
            raise ValueError("a rank appears twice in the manifest")
        for shard in (shard for member in self.members for shard in member.shards):
            if shard.seal.epoch != self.epoch or shard.seal.job != self.job:
                raise ValueError(f"rank {shard.seal.rank} is of another epoch than the manifest")
            if len(shard.sums) != -(-shard.seal.nbytes // self.chunk):
                raise ValueError(f"rank {shard.seal.rank} has {len(shard.sums)} checksums")
