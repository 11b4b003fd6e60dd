"""The delay matrix of a job: for each pair of hosts how its connections move now, against how they moved before."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from offbeat.analyzer.engine.edges import EdgeBook

if TYPE_CHECKING:
    import pyarrow as pa

    from offbeat.analyzer.engine.edges import Edge
    from offbeat.analyzer.engine.facts import Hosts


@dataclass(frozen=True, slots=True)
class Path:
    """From one host to another: the slowest of its connections that carry the job.

    Args:
        connections: How many carry it; what the idle ones say is stale.
        rtt_us: Round trip now, the largest of their medians.
        usual_rtt_us: That connection's round trip before, else the median of the others'; None where none was seen.
        busy: Share of time with data in flight, the largest.
        retransmits: A second, of all together.
    """

    src_host: str
    dst_host: str
    connections: int
    rtt_us: float
    usual_rtt_us: float | None
    busy: float
    retransmits: float


def paths(edges: pa.Table, hosts: Hosts, split: int) -> list[Path]:
    """Return the paths that carry the job.

    Args:
        edges: Rows of the table `edges`.
        hosts: Who has which address.
        split: What is now begins here (ns); before it is what was usual.
    """
    if edges.num_rows == 0:
        return []
    book = EdgeBook()
    book.add(edges)
    before = {
        (c.src_addr, c.dst_addr): flow for c in book.connections.values() if (flow := c.flow(0, split - 1)) is not None
    }
    book.baselines = {name: deque([flow]) for name, flow in before.items()}
    together: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in book.edges(hosts, split):
        together[edge.src_host, edge.dst_host].append(edge)
    return [_path(src, dst, found) for (src, dst), found in sorted(together.items())]


def _path(src: str, dst: str, found: list[Edge]) -> Path:
    slowest = max(found, key=lambda edge: edge.now.rtt_us)
    known = [edge.base.rtt_us for edge in found if edge.base is not None]
    return Path(
        src,
        dst,
        len(found),
        slowest.now.rtt_us,
        slowest.base.rtt_us if slowest.base is not None else (median(known) if known else None),
        max(edge.now.busy for edge in found),
        sum(edge.now.retransmits for edge in found),
    )
