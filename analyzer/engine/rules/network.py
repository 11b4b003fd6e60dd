"""slow.link, slow.send, slow.receive, slow.fabric from TCP connections: transfers take longer, and nobody came late.

Reads: iterations, TCP connections. Emits: the slow.* classes of the network.

In a ring a slow edge makes everybody's transfer longer, so durations say "network" and never where. Where is told
by the connections themselves; and of a host whose both edges look slow (the acknowledgements of what it receives
leave by its transmit side), by who leaves the collective last: the receiver of the slow edge.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine.rules.common import SECOND, STARVED, cpu_wait, ms
from offbeat.analyzer.engine.suspicion import Suspicion
from offbeat.analyzer.engine.transfers import growths
from offbeat.model import Action, Advice, Culprits, Evidence, FaultClass, Link, Severity

if TYPE_CHECKING:
    from offbeat.analyzer.engine.edges import Edge
    from offbeat.analyzer.engine.transfers import Growth
    from offbeat.analyzer.engine.view import View

RTT_TIMES, RTT_MORE_US = 3.0, 500.0
"""Growth of an edge's round trip; less is what queues do by themselves under load."""
BUSY_MORE = 0.3
"""Growth of the share of time an edge has data in flight; an edge that is not busier is not what all wait for."""
RETRANSMITS_MORE = 10.0
"""Retransmits a second more than usual; tail-loss probes alone make a few."""
HOP = 0.5
"""Part of a hop's delay by which one receiver must leave later than the other; with less, the wrong side of the right
host is named where late acknowledgements hold the other direction up."""
WINDOW_NS = 4 * SECOND
HOLD_NS = 2 * SECOND


def judge(view: View) -> list[Suspicion]:
    """Return the slow part of the network, at most one suspicion."""
    slow = [g for g in growths(view) if g.clearly]
    if not slow or view.steps is None:
        return []
    worst = max(slow, key=lambda g: g.more)
    edges = view.job.edges.edges(view.hosts, view.job.edges.newest - WINDOW_NS)
    hot = [e for e in edges if _hot(e, edges)]
    hot = [e for e in hot if not _starved_end(view, e, view.steps.since)]
    if not hot:
        return []
    return [_blame(view, worst, hot)]


def _hot(edge: Edge, edges: list[Edge]) -> bool:
    """Tell whether *edge* moved away from its own past and from its peers."""
    others = [e.now for e in edges if e is not edge]
    base = edge.base
    usual_rtt = max(base.rtt_us if base else 0.0, 100.0)
    peers_rtt = median(f.rtt_us for f in others) if others else usual_rtt
    if base is None:
        usual_rtt = max(peers_rtt, 100.0)
    usual_busy = base.busy if base else (median(f.busy for f in others) if others else 0.0)
    usual_retransmits = base.retransmits if base else 0.0
    rtt = edge.now.rtt_us > RTT_TIMES * usual_rtt and edge.now.rtt_us - usual_rtt > RTT_MORE_US
    rtt = rtt and (len(others) < 3 or edge.now.rtt_us > 2 * peers_rtt)
    busier = edge.now.busy - usual_busy > BUSY_MORE
    loses = edge.now.retransmits - usual_retransmits > RETRANSMITS_MORE
    return busier and (rtt or loses)


def _starved_end(view: View, edge: Edge, since: int) -> bool:
    """Tell whether the receiver lacks a CPU: then its process, not the path, is slow to take the data."""
    waits = cpu_wait(view, edge.dst_rank, since)
    return bool(waits and waits[0] - waits[1] > STARVED and waits[0] > 1.5 * waits[1])


def _blame(view: View, growth: Growth, hot: list[Edge]) -> Suspicion:
    touching: dict[str, list[Edge]] = {}
    for edge in hot:
        for host in {edge.src_host, edge.dst_host}:
            touching.setdefault(host, []).append(edge)
    pairs = {(e.src_host, e.dst_host) for e in hot}
    sure = True
    host, most = max(touching.items(), key=lambda item: len({(e.src_host, e.dst_host) for e in item[1]}))
    covers = len({(e.src_host, e.dst_host) for e in most}) / len(pairs)
    last, lag = _last_to_leave(growth)
    departure = Evidence(
        "departure",
        f"rank {last} now leaves the collectives last, {ms(lag)} after the typical member, against its own past",
        {"rank": last, "lag_ns": lag},
    )
    if len(pairs) == 1:
        fault, culprits, what = _one_edge(hot[0])
    elif covers < 0.7:
        fault, what = FaultClass.SLOW_FABRIC, f"{len(pairs)} paths between {len(touching)} hosts"
        culprits = Culprits(hosts=tuple(sorted(touching)), links=_links(hot))
    else:
        fault, what, sure = _side(view, host, most, growth)
        ranks = tuple(view.job.hosts().get(host, ()))
        # What goes the other way only waits for acknowledgements.
        guilty = [e for e in most if (e.src_host if fault is FaultClass.SLOW_SEND else e.dst_host) == host]
        culprits = Culprits(ranks=ranks, hosts=(host,), links=_links(guilty) if sure else ())
    steps, normal = view.steps, view.normal
    assert normal is not None
    assert steps is not None
    return Suspicion(
        key="network",
        fault=fault,
        severity=Severity.WARNING,
        summary=f"{what}: transfers take {ms(growth.now)} a step instead of {ms(growth.usual)}, and no rank comes late",
        advice=Advice(Action.INSPECT, "look at link errors, speed and congestion on that path"),
        culprits=culprits,
        victims=tuple(sorted(set(growth.window.members) - set(culprits.ranks))),
        evidence=(*[_text(e) for e in hot[:4]], departure),
        slowdown=steps.length / normal.length,
        confidence=0.9 if covers == 1.0 and sure else 0.7,
        started_at=steps.since,
        hold_ns=HOLD_NS,
        clear_ns=3 * SECOND,
    )


def _one_edge(edge: Edge) -> tuple[FaultClass, Culprits, str]:
    culprits = Culprits(links=_links([edge]))
    return FaultClass.SLOW_LINK, culprits, f"the path from {edge.src_host} to {edge.dst_host} is slow"


def _side(view: View, host: str, hot: list[Edge], growth: Growth) -> tuple[FaultClass, str, bool]:
    """Tell which side of *host* is slow: the receiver of a slow edge leaves last, its sender one delay earlier.

    Returns:
        The class, its words, and whether departures tell; else it is a guess.
    """
    outgoing = [e for e in hot if e.src_host == host]
    later = 1.0 if outgoing else -1.0
    if outgoing and any(e.dst_host == host for e in hot):
        # Only the two that can be the receiver are compared: whoever else is held up tells nothing of the side.
        later = _lag(view, growth, {e.dst_host for e in outgoing}) - _lag(view, growth, {host})
        # A slow edge of a ring of n delays each of the 2 (n - 1) hops of an operation, and departures by one of them.
        hops = 2 * max(len(growth.window.members) - 1, 1) * max(growth.operations, 1.0)
        if abs(later) < HOP * growth.more / hops:
            # What a host sends late are acknowledgements, too, which hold the other direction up and blur who leaves
            # last. On real hosts a slow receive side nearly always showed in departures, a slow transmit side less.
            what = f"{host} sends or receives slowly, and who leaves last does not tell which"
            return FaultClass.SLOW_SEND, what, False
    if later >= 0:
        return FaultClass.SLOW_SEND, f"{host} sends slowly", True
    return FaultClass.SLOW_RECEIVE, f"{host} receives slowly", True


def _lag(view: View, growth: Growth, hosts: set[str]) -> float:
    """Return by how much later than it used to the last rank of *hosts* leaves, ns an operation."""
    lags = [lag for r, lag in zip(growth.window.members, growth.shift, strict=True) if view.job.host_of(r) in hosts]
    return float(max(lags, default=0.0))


def _last_to_leave(growth: Growth) -> tuple[int, float]:
    """Return the member that now leaves latest against its own past, and by how much, ns an operation."""
    k = int(np.nanargmax(growth.shift))
    return growth.window.members[k], float(growth.shift[k])


def _links(edges: list[Edge]) -> tuple[Link, ...]:
    return tuple(
        sorted(
            {
                Link(
                    e.src_rank if e.src_rank >= 0 else None,
                    e.dst_rank if e.dst_rank >= 0 else None,
                    e.src_host,
                    e.dst_host,
                )
                for e in edges
            },
            key=lambda link: (link.src_host or "", link.dst_host or "", link.src_rank or 0, link.dst_rank or 0),
        )
    )


def _text(edge: Edge) -> Evidence:
    now, base = edge.now, edge.base
    text = f"{edge.src_host} to {edge.dst_host}: round trip {now.rtt_us / 1e3:.1f} ms"
    text += f" ({base.rtt_us / 1e3:.1f} ms before)" if base else ""
    text += f", data in flight {100 * now.busy:.0f} % of the time"
    text += f" ({100 * base.busy:.0f} %)" if base else ""
    if now.retransmits >= 1:
        text += f", {now.retransmits:.0f} retransmits a second"
    if 0 < now.delivery < 12.5e6:
        text += f", delivery held to {8 * now.delivery / 1e6:.1f} Mbit/s"
    data = {"src_rank": edge.src_rank, "dst_rank": edge.dst_rank, "rtt_us": now.rtt_us, "busy": now.busy}
    return Evidence("tcp", text, data)
