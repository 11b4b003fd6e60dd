"""Words of the epoch protocol: what names a state of a job, and the record that says one rank's part of it is whole."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from offbeat.recovery.memory.coding import CHUNK

__all__ = ["CHUNK", "DATA", "PARITY", "Epoch", "Seal", "job_name"]

DATA, PARITY = 0, 1
"""Kinds of images: a rank's state, and a host's parity of others' state."""
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
        for field, kind in cls.__annotations__.items():
            if not isinstance(getattr(seal, field), str if kind in {"str", str} else int):
                raise ValueError(f"not a seal: {field} is {getattr(seal, field)!r}")  # noqa: TRY004 - a message's text
        return seal


def job_name(text: Any) -> str:
    """Return *text* where it can be a job's name, which is a directory's too.

    Raises:
        ValueError: It cannot.
    """
    if not isinstance(text, str) or not _JOB.fullmatch(text):
        raise ValueError(f"job {text!r}: 1 to 128 of A-Z, a-z, 0-9, dot, dash, underscore, no dot first")
    return text
