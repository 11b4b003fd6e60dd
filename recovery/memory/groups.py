"""The leader's part of coding: manifests for every group, and plans for what was lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory import hosts
from offbeat.recovery.memory.director import UndecidedError
from offbeat.recovery.memory.manifest import Manifest, Member, Shard

if TYPE_CHECKING:
    from offbeat.recovery.memory.epoch import Epoch
    from offbeat.recovery.memory.epochs import Sources, Verdict
    from offbeat.recovery.memory.roster import Roster

POLL_SECONDS = 0.002, 0.1
"""Between two questions whether work is done: at first, and at most, twice as long each time."""


class GroupCoder:
    """Has the keepers of a roster code and rebuild."""

    def __init__(self, roster: Roster, group: hosts.Hosts) -> None:
        """Lead the hosts of *roster*, reached by *group*."""
        self._roster, self._group = roster, group

    def code(self, job: str, generation: int, epoch: Epoch) -> None:
        """Code a protected epoch in every group.

        Raises:
            UndecidedError: A keeper failed; no parity of this epoch counts then.
        """
        told = self._ask({host: ("shards", {"epoch": epoch}) for host in self._group.names()}, job, generation)
        here = sorted(Shard.of(s).seal.rank for answer in told.values() for s in answer["shards"])
        if here != list(range(self._roster.world)):
            raise UndecidedError(f"of {epoch} only ranks {here} are here")
        orders = {}
        for names in self._roster.groups():
            chunks = {told[name]["chunk"] for name in names}
            if len(chunks) != 1:
                raise UndecidedError(f"hosts {', '.join(names)} use chunks of {sorted(chunks)} bytes")
            members = tuple(Member(n, tuple(Shard.of(s) for s in told[n]["shards"])) for n in names)
            manifest = Manifest(job, epoch, self._roster.k, self._roster.m, chunks.pop(), members)
            manifest.check()
            text = manifest.text().decode()
            orders.update({n: ("code", {"manifest": text, "member": i}) for i, n in enumerate(names)})
        self._work(orders, job, generation, epoch, "code")

    def rebuild(self, job: str, generation: int, verdict: Verdict) -> None:
        """Bring every rank's image, and each group's parity, to the hosts where the roster has the ranks.

        Raises:
            UndecidedError: The roster has other hosts' ranks together than were coded together, or a keeper failed.
        """
        homes = {member.ranks: member.name for member in self._roster.members}
        orders = {}
        for sources in verdict.coded:
            for index, member in enumerate(sources.manifest.members):
                home = homes.get(member.ranks)
                if home is None:
                    raise UndecidedError(f"ranks {member.ranks} were on one host, the roster has them elsewhere")
                if sources.data.get(index) != home or sources.parity.get(index) != home:
                    orders[home] = ("rebuild", _order(sources, index))
        coded = {rank for s in verdict.coded for member in s.manifest.members for rank in member.ranks}
        for host in self._roster.members:
            astray = [r for r in host.ranks if r not in coded and verdict.ranks.get(r) != host.name]
            if astray:
                raise UndecidedError(f"ranks {astray} of {verdict.epoch} are not on {host.name}, and were not coded")
        self._work(orders, job, generation, verdict.epoch, "rebuild")

    def _work(
        self, orders: dict[str, tuple[str, dict[str, Any]]], job: str, generation: int, epoch: Epoch, what: str
    ) -> None:
        """Give orders, and wait until all are done."""
        self._ask(orders, job, generation)
        waiting, (pause, longest) = set(orders), POLL_SECONDS
        while waiting:
            asked = {host: ("progress", {"epoch": epoch, "what": what}) for host in waiting}
            for host, answer in self._ask(asked, job, generation).items():
                if answer["failed"]:
                    raise UndecidedError(f"{host}: {what} of {epoch}: {answer['failed']}")
                if answer["done"]:
                    waiting.discard(host)
            if waiting:
                time.sleep(pause)
                pause = min(2 * pause, longest)

    def _ask(
        self, orders: dict[str, tuple[str, dict[str, Any]]], job: str, generation: int
    ) -> dict[str, dict[str, Any]]:
        def make(host: str) -> tuple[str, dict[str, Any]]:
            name, fields = orders[host]
            return name, {"job": job, "generation": generation, **fields}

        answers = hosts.ask(self._group, orders, make)
        found = {}
        for host, answer in answers.items():
            if isinstance(answer, Exception):
                raise UndecidedError(f"keeper of {host}: {str(answer) or type(answer).__name__}")
            found[host] = answer
        return found


def _order(sources: Sources, index: int) -> dict[str, Any]:
    return {
        "manifest": sources.manifest.text().decode(),
        "member": index,
        "data": {str(member): host for member, host in sources.data.items()},
        "parity": {str(member): host for member, host in sources.parity.items()},
    }
