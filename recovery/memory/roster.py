"""The roster: which hosts a job runs on, with which ranks, how they are coded, and the secret their keepers share."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import placement
from offbeat.recovery.memory.epoch import job_name

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "offbeat.roster/1"
SECRET_BYTES = 16
"""At least; a shorter one can be guessed by whoever records one handshake."""


class RosterError(ValueError):
    """A roster cannot be used; the message names the field."""


@dataclass(frozen=True)
class Member:
    """One host of a job: its keeper's address, its ranks, and what it fails with."""

    name: str
    address: tuple[str, int]
    ranks: tuple[int, ...]
    domains: dict[str, str]


@dataclass(frozen=True)
class Roster:
    """All hosts of a job. The order of hosts does not matter; groups follow from names and domains."""

    job: str
    secret: bytes
    k: int
    m: int
    members: tuple[Member, ...]

    @property
    def world(self) -> int:
        """How many ranks the job has."""
        return sum(len(member.ranks) for member in self.members)

    def member(self, host: str) -> Member:
        """Return a host's line.

        Raises:
            RosterError: It is no host of the job.
        """
        for member in self.members:
            if member.name == host:
                return member
        raise RosterError(f"{host} is no host of job {self.job}")

    def lead(self) -> str:
        """Return the host whose keeper leads: that of rank 0."""
        return next(member.name for member in self.members if 0 in member.ranks)

    def groups(self) -> list[list[str]]:
        """Return the coding groups."""
        hosts = [placement.Host(member.name, member.domains) for member in self.members]
        return placement.groups(hosts, self.k, self.m)


def read(path: Path) -> Roster:
    """Read a roster file; it holds the secret, so nobody else may be able to read it.

    Raises:
        RosterError: It cannot be used.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise RosterError(f"{path}: others may read it, and it holds a secret; chmod 600")
        return parse(path.read_bytes())
    except OSError as error:
        raise RosterError(f"{path}: {error.strerror}") from None
    except RosterError as error:
        raise RosterError(f"{path}: {error}") from None


def parse(text: bytes | str) -> Roster:
    """Read a roster.

    Raises:
        RosterError: It cannot be used; the message names the field.
    """
    try:
        found = json.loads(text)
        if found["schema"] != SCHEMA:
            raise RosterError(f"schema is {found['schema']!r}, not {SCHEMA!r}")
        job, secret = job_name(found["job"]), base64.b64decode(found["secret"], validate=True)
        members = tuple(_member(item) for item in found["hosts"])
        k, m = (int(found["k"]), int(found["m"])) if "k" in found else placement.default_code(len(members))
        roster = Roster(job, secret, k, m, members)
        roster.groups()
    except RosterError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        words = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RosterError(words) from None
    _check(roster)
    return roster


def _member(item: Any) -> Member:
    name, text = str(item["name"]), str(item["address"])
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise RosterError(f"hosts: {name}: address {text!r} is not host:port")
    domains = {str(kind): str(value) for kind, value in item.get("domains", {}).items()}
    return Member(name, (host.strip("[]"), int(port)), tuple(sorted(int(r) for r in item["ranks"])), domains)


def _check(roster: Roster) -> None:
    if len(roster.secret) < SECRET_BYTES:
        raise RosterError(f"secret: {len(roster.secret)} bytes, at least {SECRET_BYTES} are needed")
    ranks = sorted(rank for member in roster.members for rank in member.ranks)
    if ranks != list(range(len(ranks))):
        raise RosterError(f"hosts: ranks are {ranks[:20]}, not each of 0..{len(ranks) - 1} once")
    idle = [member.name for member in roster.members if not member.ranks]
    if idle:
        raise RosterError(f"hosts: {', '.join(idle)} without ranks")
