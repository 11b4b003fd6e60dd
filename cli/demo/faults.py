"""The trouble that the demo makes: real, from outside the service, and taken back.

Each fault knows what finding is right for it; only the demo reads that, the service never learns it.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offbeat.cli.demo.hosts import BedError, run
from offbeat.cli.demo.judge import Expected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from offbeat.cli.demo.hosts import Host
    from offbeat.cli.demo.job import Job

FACTOR = 1.5
"""How much longer the slow rank computes."""

_RATE = "20mbit"
_HTB_CLASS = ("parent", "1:", "classid", "1:1", "htb", "rate", _RATE, "quantum", "60000")
SHAPERS = (
    ("netem", "10 ms of delay", ("delay", "10ms", "limit", "20000")),
    ("tbf", "a limit of 20 Mbit/s", ("rate", _RATE, "burst", "128kb", "latency", "100ms")),
    ("htb", "a limit of 20 Mbit/s", ("default", "1")),
)
"""Queueing disciplines that slow what a host sends: the first that the kernel has is taken."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is made wrong and, unless it ends the job, right again.

    Args:
        title: What it is, for a person.
        expected: What the service should say.
        apply: Does it and returns what was done; raises `BedError` when the machine does not let it.
        undo: Takes it back; does nothing when it was not done.
        terminal: Whether the job does not survive it.
    """

    title: str
    expected: Expected
    apply: Callable[[], str]
    undo: Callable[[], None]
    terminal: bool = False


def slow_rank(job: Job, rank: int) -> Fault:
    """Make one rank compute slower, as a GPU that lost its clock does."""

    def apply() -> str:
        job.throttle(rank, FACTOR)
        return f"rank {rank} now takes {FACTOR:g} times as long to compute"

    return Fault(
        title=f"rank {rank} computes {FACTOR:g}x slower",
        expected=Expected.rank({"slow.compute"}, rank, job.host(rank).name),
        apply=apply,
        undo=lambda: job.throttle(rank, None),
    )


def slow_host(host: Host, ranks: Collection[int]) -> Fault:
    """Make all that one host sends slower, as a bad cable or a saturated uplink does."""

    def apply() -> str:
        if host.namespace is None:
            raise BedError("the hosts share the machine's own network, which is left alone")
        refusals = []
        for kind, effect, options in SHAPERS:
            try:
                _shape(host, kind, options)
            except BedError as error:
                _unshape(host)  # an htb without its class
                refusals.append(str(error))
            else:
                return f"what {host.name} sends now has {effect} ({kind})"
        raise BedError("no queueing discipline for this: " + "; ".join(refusals))

    return Fault(
        title=f"the network of {host.name} becomes slower",
        expected=Expected.sending_host({"slow.send", "slow.receive", "slow.link"}, host.name, ranks),
        apply=apply,
        undo=lambda: _unshape(host) if host.namespace else None,
    )


def stopped_rank(job: Job, rank: int) -> Fault:
    """Make one rank stand still, as one stuck in a driver does, so that all others wait."""

    def apply() -> str:
        job.ranks[rank].send(signal.SIGSTOP)
        return f"rank {rank} (process {job.ranks[rank].pid}) was sent SIGSTOP"

    return Fault(
        title=f"rank {rank} stops, all others hang",
        expected=Expected.rank({"hang.not_entered", "hang.in_transport"}, rank, job.host(rank).name),
        apply=apply,
        undo=lambda: job.ranks[rank].send(signal.SIGCONT),
    )


def killed_rank(job: Job, rank: int) -> Fault:
    """Kill one rank, as the kernel does when memory runs out."""

    def apply() -> str:
        job.ranks[rank].send(signal.SIGKILL)
        return f"rank {rank} (process {job.ranks[rank].pid}) was sent SIGKILL"

    return Fault(
        title=f"rank {rank} is killed",
        expected=Expected.rank({"lost.rank"}, rank, job.host(rank).name),
        apply=apply,
        undo=lambda: None,
        terminal=True,
    )


def _tc(host: Host, what: str, action: str, *rest: str) -> list[str]:
    assert host.namespace is not None  # never on an interface of the machine
    return ["tc", "-n", host.namespace, what, action, "dev", host.interface, *rest]


def _shape(host: Host, kind: str, options: Sequence[str]) -> None:
    if kind == "htb":
        run(_tc(host, "qdisc", "add", "root", "handle", "1:", kind, *options))
        run(_tc(host, "class", "add", *_HTB_CLASS))
    else:
        run(_tc(host, "qdisc", "add", "root", kind, *options))
    if f"qdisc {kind} " not in run(_tc(host, "qdisc", "show")):
        raise BedError(f"tc took {kind} on {host.name} and does not show it")


def _unshape(host: Host) -> None:
    with suppress(BedError):  # there is none
        run(_tc(host, "qdisc", "delete", "root"))
