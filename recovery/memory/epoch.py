"""Words of the epoch protocol: what names a state of a job, and the record that says one rank's part of it is whole."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from offbeat.recovery.memory.coding import CHUNK

__all__ = ["CHUNK", "DATA", "PARITY", "Epoch", "Seal", "job_name"]

DATA, PARITY = 0, 1
"""Kinds of images: a rank's state, and a host's parity of others' state."""
_HEX = re.compile(r"[0-9a-f]{64}")
_JOB = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class Epoch(NamedTuple):
    """A state of the whole job: the generation of processes that made it, and the step after which it was."""

    generation: int
    step: int

    def __str__(self) -> str:
        """Say it in words."""
        return f"step {self.step} of generation {self.generation}"


class Seal(NamedTuple):
    """The commit record of one image, written last: without it, or damaged, there is nothing."""

    job: str
    kind: int
    rank: int
    """The logical rank; of parity, the host's place in its group."""
    world: int
    generation: int
    step: int
    nbytes: int
    fingerprint: str
    """Of data the layout's, of parity that of the manifest it was coded with; hexadecimal."""
    sealed_at: int
    table: int
    """CRC-32 of the chunks' checksums."""

    @property
    def epoch(self) -> Epoch:
        """What it is a part of."""
        return Epoch(self.generation, self.step)

    @property
    def face(self) -> Seal:
        """The seal without its time: equal for an image and for the same image rebuilt."""
        return self._replace(sealed_at=0)

    @classmethod
    def of(cls, fields: Any) -> Seal:
        """Read a seal from a message.

        Raises:
            ValueError: It is none; the message names the field.
        """
        try:
            seal = cls(*fields)
        except TypeError as error:
            raise ValueError(f"not a seal: {error}") from None
        for field in cls._fields:
            if not isinstance(getattr(seal, field), str if field in {"job", "fingerprint"} else int):
                raise ValueError(f"not a seal: {field} is {getattr(seal, field)!r}")  # noqa: TRY004 - a message's text
        if not _HEX.fullmatch(seal.fingerprint) or seal.nbytes < 0 or not 0 <= seal.rank < 1 << 31:
            raise ValueError(f"not a seal: fingerprint {seal.fingerprint!r}, rank {seal.rank}, {seal.nbytes} bytes")
        return seal


def job_name(text: Any) -> str:
    """Return *text* where it can be a job's name, which is a directory's too.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(text, str) or not _JOB.fullmatch(text):
        raise ValueError(f"job {text!r}: 1 to 128 of A-Z, a-z, 0-9, dot, dash, underscore, no dot first")
    return text
