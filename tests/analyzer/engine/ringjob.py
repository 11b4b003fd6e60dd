"""A small data-parallel job made of numbers: real enough in its physics to test the engine on, and labelled simulated.

Each step a rank computes, then enters three all-reduces and a broadcast; a collective lasts until the last member
came plus its transfer, and members leave it with a skew of their own. A slow edge of the ring makes the transfer
longer, and its receiver leave last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from offbeat.records import build

MS = 1_000_000
SECOND = 1_000 * MS
START = 1_800_000_000 * SECOND


@dataclass
class RingJob:
    """Eight ranks (by default) on hosts h0, h1, … with `per_host` ranks each."""

    world: int = 8
    per_host: int = 1
    seed: int = 1
    compute_ms: float = 30.0
    transfer_ms: float = 9.0
    now: int = START
    seq: int = 0
    slow: dict[int, float] = field(default_factory=dict)
    """Rank to factor of its compute time."""
    slow_edge: tuple[int, float] | None = None
    """Sender (it sends to the rank below it) and milliseconds more a collective."""
    held_up: dict[int, float] = field(default_factory=dict)
    """Rank to milliseconds by which its scheduler lets it leave later."""
    skip: int | None = None
    """A rank that leaves out the broadcast of the next step."""
    stopped: dict[int, int] = field(default_factory=dict)
    """Rank to the number of collectives of the step it still enters, for ever."""
    offsets_ms: float = 3.0

    jammed: bool = False
    """Whether all ranks enter the first collective of the next step, and none leaves it."""

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        self.offset = (self.random.normal(0, self.offsets_ms, self.world) * MS).astype(np.int64)
        self.free = np.full(self.world, self.now, np.int64)
        self.opened: list[dict] = []
        self.edges = Edges(self)

    def host(self, rank):
        return f"h{rank // self.per_host}"

    @property
    def hosts(self):
        return sorted({self.host(r) for r in range(self.world)})

    def preamble(self):
        """Return the tables that come first."""
        ranks = list(range(self.world))
        n = self.world
        return {
            "memberships": build(
                "memberships",
                {
                    "job": ["j"] * n, "attempt": [1] * n, "comm": ["world@1"] * n, "comm_rank": ranks,
                    "n_ranks": [n] * n, "rank": ranks, "host": [self.host(r) for r in ranks], "name": ["world"] * n,
                    "members": [ranks] * n,
                },
            ),
            "ranks": build(
                "ranks",
                {
                    "job": ["j"] * n, "attempt": [1] * n, "rank": ranks, "host": [self.host(r) for r in ranks],
                    "pid": [1000 + r for r in ranks],
                },
            ),
        }  # fmt: skip

    def run(self, seconds):
        """Yield (now, tables) every quarter of a second of the job's life."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            until = min(self.now + SECOND // 4, end)
            rows = []
            while self.free.max() < until and not (self.stopped or self.opened):
                rows += self._step()
            if self.stopped and not self.opened:
                rows += self._step()
            self.now = until
            yield until, self._tables(rows)

    def _step(self):
        rows = []
        noise = self.random.gamma(4, 0.25, self.world)
        factor = np.array([self.slow.get(r, 1.0) for r in range(self.world)])
        enter = self.free + (self.compute_ms * MS * factor * (0.98 + 0.02 * noise)).astype(np.int64)
        for k, (op, nbytes) in enumerate(
            [("all_reduce", 400_000), ("all_reduce", 400_000), ("all_reduce", 250_000), ("broadcast", 4)]
        ):
            if self.jammed:
                self.opened = [self._row(r, self.seq, op, nbytes, enter[r], None) for r in range(self.world)]
                return rows + self.opened
            present = [r for r in range(self.world) if self.stopped.get(r, 9) > k]
            if self.skip is not None and op == "broadcast":
                return rows + self._mismatched(enter)
            if self.stopped and (len(present) < self.world or k >= min(self.stopped.values())):
                rows += [self._row(r, self.seq + k, op, nbytes, enter[r], None) for r in present]
                self.opened = rows[-len(present) :]
                continue
            leave = self._leave(enter, 0.2 if op == "broadcast" else self.transfer_ms)
            rows += [self._row(r, self.seq + k, op, nbytes, enter[r], leave[r]) for r in range(self.world)]
            enter = leave + (self.random.gamma(4, 0.5, self.world) * MS).astype(np.int64)
        self.seq += 4
        self.free = leave if not self.stopped else self.free
        return rows

    def _leave(self, enter, transfer_ms):
        leave = enter.max() + int(transfer_ms * MS * (0.9 + 0.2 * self.random.random()))
        skew = np.abs(self.random.normal(0, 0.3, self.world)) * MS
        if self.slow_edge and transfer_ms > 1:
            sender, more = self.slow_edge
            receiver = (sender - 1) % self.world
            hops = np.array([min((r - receiver) % self.world, (receiver - r) % self.world) for r in range(self.world)])
            skew = skew + more * MS * np.maximum(1 - 0.25 * hops, 0)
            leave += int(more * MS)
        if transfer_ms > 1:
            skew = skew + np.array([self.held_up.get(r, 0.0) for r in range(self.world)]) * MS
        return (leave + skew).astype(np.int64)

    def _mismatched(self, enter):
        rows = []
        for r in range(self.world):
            op, nbytes = ("all_reduce", 400_000) if r == self.skip else ("broadcast", 4)
            rows.append(self._row(r, self.seq + 3, op, nbytes, enter[r], None))
        self.opened, self.stopped, self.skip = rows, {0: 0}, None
        return rows

    def _row(self, rank, seq, op, nbytes, enter, leave):
        offset = int(self.offset[rank])
        return {
            "rank": rank, "seq": seq, "op": op, "nbytes": nbytes, "enqueued_at": int(enter) + offset,
            "ended_at": None if leave is None else int(leave) + offset,
        }  # fmt: skip

    def _tables(self, rows):
        rows = rows + [r for r in self.opened if r not in rows]
        n = len(rows)
        columns = {k: [r[k] for r in rows] for k in ("rank", "seq", "op", "nbytes", "enqueued_at", "ended_at")}
        seen = [self.now + int(self.offset[r["rank"]]) for r in rows]
        tables = {
            "collectives": build(
                "collectives",
                {
                    "job": ["j"] * n, "attempt": [1] * n, "comm": ["world@1"] * n, "dtype": ["float32"] * n,
                    "state": ["completed" if r["ended_at"] else "enqueued" for r in rows],
                    "observed_at": seen, **columns,
                },
            ),
            "heartbeats": build(
                "heartbeats",
                {
                    "at": [self.now] * len(self.hosts), "host": self.hosts, "incarnation": [1] * len(self.hosts),
                    "addresses": [[f"10.0.0.{k}"] for k in range(len(self.hosts))],
                    "interval_ns": [SECOND] * len(self.hosts),
                },
            ),
        }  # fmt: skip
        if self.now % SECOND < SECOND // 4:
            tables["edges"] = self.edges.table()
        return tables


class Edges:
    """The connections of the ring, one a rank, to the rank below it."""

    def __init__(self, job):
        self.job, self.totals = job, {}
        self.hot: dict[int, dict] = {}
        """Sender to overriding metrics, e.g. {3: {"rtt_us": 21000, "busy": 0.9}}."""

    def table(self):
        rows = []
        for r in range(self.job.world):
            hot = self.hot.get(r, {})
            total = self.totals.setdefault(r, {"busy_us": 0.0, "total_retrans": 0.0, "bytes_acked": 0.0})
            total["busy_us"] += 1e6 * hot.get("busy", 0.2 + 0.02 * self.job.random.random())
            total["total_retrans"] += hot.get("retransmits", 2)
            total["bytes_acked"] += hot.get("sent", 8e6)
            metrics = {
                "rtt_us": hot.get("rtt_us", 200 + 20 * self.job.random.random()), "backoff": hot.get("backoff", 0),
                "unacked": hot.get("unacked", 0), "delivery_rate_bps": hot.get("delivery", 1e9), **total,
            }  # fmt: skip
            peer = (r - 1) % self.job.world
            rows += [(r, peer, m, float(v)) for m, v in metrics.items()]
        n = len(rows)
        return build(
            "edges",
            {
                "job": ["j"] * n, "attempt": [1] * n, "at": [self.job.now] * n, "kind": ["tcp"] * n,
                "src_host": [self.job.host(r) for r, *_ in rows], "src_rank": [r for r, *_ in rows],
                "src_addr": [f"10.0.0.{r // self.job.per_host}:{5000 + r}" for r, *_ in rows],
                "dst_addr": [f"10.0.0.{p // self.job.per_host}:{6000 + p}" for _, p, *_ in rows],
                "metric": [m for *_, m, _ in rows], "value": [v for *_, v in rows],
            },
        )  # fmt: skip
