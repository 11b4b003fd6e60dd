"""TCP connections of a job's ranks: how each moves now against how it moved while the job was healthy."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from offbeat.analyzer.engine.columns import floats, ints, words

if TYPE_CHECKING:
    import pyarrow as pa

    from offbeat.analyzer.engine.facts import Hosts

CARRIES = 0.05
"""Share of the busiest connection's bytes from which one counts as carrying the job; the rtt of an idle connection
is a stale value that says nothing."""
CUMULATIVE = ("busy_us", "total_retrans", "bytes_acked")


@dataclass(frozen=True, slots=True)
class Sample:
    """One connection at one time, rates since the sample before; `sent` in bytes/s, `delivery` in bytes/s."""

    at: int
    rtt_us: float
    busy: float
    retransmits: float
    sent: float
    backoff: float
    unacked: float
    delivery: float


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection's typical sample over a stretch of time (medians; the largest of backoff)."""

    rtt_us: float
    busy: float
    retransmits: float
    sent: float
    backoff: float
    unacked: float
    delivery: float


@dataclass(slots=True)
class Connection:
    """The sending side of one connection."""

    src_addr: str
    dst_addr: str
    src_host: str
    src_rank: int
    last: dict[str, float] = field(default_factory=dict)
    last_at: int = 0
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=120))

    def add(self, at: int, m: dict[str, float]) -> None:
        """Take one reading of all metrics."""
        if self.last_at and at > self.last_at:
            span = (at - self.last_at) / 1e9
            moved = {k: max(m.get(k, 0.0) - self.last.get(k, 0.0), 0.0) / span for k in CUMULATIVE}
            self.samples.append(
                Sample(
                    at, m.get("rtt_us", 0.0), min(moved["busy_us"] / 1e6, 1.0), moved["total_retrans"],
                    moved["bytes_acked"], m.get("backoff", 0.0), m.get("unacked", 0.0), m.get("delivery_rate_bps", 0.0),
                )
            )  # fmt: skip
        self.last, self.last_at = m, at

    def flow(self, since: int, until: int | None = None) -> Flow | None:
        """Return the typical sample between two times (ns of the reporting host), None without any."""
        inside = [s for s in self.samples if s.at >= since and (until is None or s.at <= until)]
        if not inside:
            return None
        return Flow(
            rtt_us=median(s.rtt_us for s in inside),
            busy=median(s.busy for s in inside),
            retransmits=float(np.mean([s.retransmits for s in inside])),
            sent=float(np.mean([s.sent for s in inside])),
            backoff=max(s.backoff for s in inside),
            unacked=inside[-1].unacked,
            delivery=median(s.delivery for s in inside),
        )


@dataclass(frozen=True, slots=True)
class Edge:
    """A directed path between two ranks, with its flow now and its healthy flow."""

    src_rank: int
    dst_rank: int
    src_host: str
    dst_host: str
    now: Flow
    base: Flow | None


class EdgeBook:
    """All connections of a job."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], Connection] = {}
        self.baselines: dict[tuple[str, str], deque[Flow]] = {}

    def add(self, table: pa.Table) -> None:
        """Take rows of the `edges` table."""
        tcp = table.filter([k == "tcp" for k in table.column("kind").to_pylist()])
        hosts, host = words(tcp, "src_host")
        sources, source = words(tcp, "src_addr")
        targets, target = words(tcp, "dst_addr")
        metrics, metric = words(tcp, "metric")
        at, rank, value = ints(tcp, "at"), ints(tcp, "src_rank"), floats(tcp, "value")
        readings: dict[tuple[int, int, int], dict[str, float]] = defaultdict(dict)
        owner: dict[tuple[int, int], tuple[str, int]] = {}
        for i in range(tcp.num_rows):
            key = (int(source[i]), int(target[i]))
            readings[(*key, int(at[i]))][metrics[metric[i]]] = float(value[i])
            owner[key] = (hosts[host[i]], int(rank[i]))
        for (s, t, when), reading in sorted(readings.items(), key=lambda item: item[0][2]):
            name = (sources[s], targets[t])
            connection = self.connections.get(name)
            if connection is None:
                connection = self.connections[name] = Connection(*name, *owner[s, t])
            connection.add(when, reading)

    @property
    def newest(self) -> int:
        """When the newest sample was taken, ns; 0 without any."""
        return max((c.last_at for c in self.connections.values()), default=0)

    def learn(self, since: int) -> None:
        """Add the flows since *since* to the healthy baseline; call only while the job is healthy."""
        for name, connection in self.connections.items():
            flow = connection.flow(since)
            if flow and flow.sent > 0:
                self.baselines.setdefault(name, deque(maxlen=30)).append(flow)

    def baseline(self, name: tuple[str, str]) -> Flow | None:
        """Return the median healthy flow of a connection, None while it has none."""
        flows = self.baselines.get(name)
        if not flows:
            return None
        return Flow(
            *(
                median(getattr(f, field) for f in flows)
                for field in ("rtt_us", "busy", "retransmits", "sent", "backoff", "unacked", "delivery")
            )
        )

    def edges(self, hosts: Hosts, since: int, *, carrying: bool = True) -> list[Edge]:
        """Return the paths between hosts, with their flow since *since*.

        Args:
            hosts: Who has which address.
            since: Start of the window, Unix ns.
            carrying: Leave out connections that move little against the busiest one of the job.
        """
        ends = {c.src_addr: (c.src_host, c.src_rank) for c in self.connections.values()}
        flows = [(c, f, self.baseline(n)) for n, c in self.connections.items() if (f := c.flow(since)) is not None]
        sent = [max(flow.sent, base.sent if base else 0.0) for _, flow, base in flows]
        most = max(sent, default=0.0)
        found = []
        for (c, flow, base), moved in zip(flows, sent, strict=True):
            if carrying and moved < CARRIES * most:
                continue
            dst_host, dst_rank = ends.get(c.dst_addr, (hosts.by_address(c.dst_addr.rsplit(":", 1)[0].strip("[]")), -1))
            if dst_host and dst_host != c.src_host:
                found.append(Edge(c.src_rank, dst_rank, c.src_host, dst_host, flow, base))
        return found
