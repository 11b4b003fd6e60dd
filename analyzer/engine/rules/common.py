"""Words and figures that several rules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.model import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from offbeat.analyzer.engine.view import View

SECOND = 1_000_000_000
STARVED = 0.2
"""Seconds a second that a rank waits for a CPU more than before, from which starvation explains its slowness."""

PRESSED = 0.1
"""Share of time some task waited for a CPU, from which a host counts as under pressure; an idle one has a little."""


def listing(ranks: Iterable[int]) -> str:
    """Return "rank 3" or "ranks 3, 5 and 9"."""
    names = [str(r) for r in sorted(ranks)]
    if len(names) == 1:
        return f"rank {names[0]}"
    shown = names if len(names) <= 8 else [*names[:7], f"{len(names) - 7} more"]
    return f"ranks {', '.join(shown[:-1])} and {shown[-1]}"


def ms(nanoseconds: float) -> str:
    """Return a length of time in milliseconds, as people say it."""
    value = nanoseconds / 1e6
    return f"{value:.1f} ms" if abs(value) < 10 else f"{value:.0f} ms"


def whole_hosts(view: View, ranks: Iterable[int]) -> tuple[str, ...]:
    """Return the hosts with at least two ranks of which all are among *ranks*."""
    chosen = set(ranks)
    return tuple(h for h, members in view.job.hosts().items() if len(members) > 1 and chosen >= set(members))


def cpu_wait(view: View, rank: int, since: int) -> tuple[float, float] | None:
    """Return how long *rank* waited for a CPU, seconds a second, since *since* and in the half minute before."""
    facts = view.job.ranks.get(rank)
    if facts is None:
        return None
    now, before = facts.rate("wait_seconds", since), facts.rate("wait_seconds", since - 30 * SECOND, since)
    return None if now is None or before is None else (now, before)


def pressure(view: View, host: str, since: int) -> list[Evidence]:
    """Return the CPU pressure of *host* as evidence, nothing where it is low or unknown."""
    facts = view.hosts.hosts.get(host)
    rate = facts.rate("cpu_pressure_seconds", since) if facts else None
    if rate is None or rate < PRESSED:
        return []
    text = f"on {host} some task waited for a CPU {100 * min(rate, 1.0):.0f} % of the time (pressure stall information)"
    return [Evidence("cpu_pressure", text, {"host": host, "share": rate})]


def stack(view: View, rank: int, since: int) -> list[Evidence]:
    """Return where the main thread of *rank* was since *since*, nothing without samples."""
    facts = view.job.ranks.get(rank)
    kinds, places = facts.time_in(since) if facts else ({}, {})
    if not kinds:
        return []
    shares = ", ".join(f"{100 * v:.0f} % {k}" for k, v in sorted(kinds.items(), key=lambda item: -item[1])[:3])
    text = f"the main thread of rank {rank}, by stack samples: {shares}"
    text += f"; most often at {next(iter(places))}" if places else ""
    return [Evidence("stack", text, {"kinds": kinds, "places": places})]
