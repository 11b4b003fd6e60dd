"""The ranks' TCP connections, by the kernel's own figures: who waits for whom on the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from offbeat import records
from offbeat.collector.columns import look_up
from offbeat.collector.sockdiag import INFO, Connection, SockDiag
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.collector.sockets import SocketOwners

_METRICS = INFO.names or ()


class TcpSource:
    """Rows of `edges`, kind `tcp`: one a connection and metric, for those that did or want something.

    A connection counts if it carried bytes since the sample before, or has bytes that are not acknowledged:
    the smoothed round trip of an idle one is stale and would accuse the innocent.
    """

    name = "tcp"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        owners: SocketOwners,
        *,
        connect: Callable[[], SockDiag] = SockDiag,
        clock: Clock = time.time_ns,
    ) -> None:
        """Read the connections of *ranks*, which *owners* tells from all others."""
        self._host = host
        self._ranks = ranks
        self._owners = owners
        self._connect = connect
        self._clock = clock
        self._diag: SockDiag | None = None
        self._bytes: dict[int, int] = {}
        self._addresses: set[str] = set()

    def is_supported(self) -> bool:
        """Say whether the kernel has socket diagnostics and lets us use them."""
        try:
            self._diag = self._connect()
        except OSError:
            return False
        return True

    def addresses(self) -> set[str]:
        """Return the local addresses of the ranks' connections in the last sample, loopback left out."""
        return self._addresses

    def read(self) -> dict[str, pa.Table]:
        """Return the connections that count.

        Raises:
            NoData: No rank is alive here, or none of its connections counts.
        """
        ranks = [rank for rank in self._ranks() if rank.readable]
        if not ranks or self._diag is None:
            self._addresses = set()
            raise NoData
        found = self._owned(self._diag, ranks)
        self._addresses = {c.local[0] for _, c in found if not c.local[0].startswith("127.") and c.local[0] != "::1"}
        found = [(rank, c) for rank, c in found if not self._owners.is_store(rank, c.local[1], c.remote[1])]
        info = np.frombuffer(b"".join(connection.info for _, connection in found), INFO)
        chosen = np.flatnonzero(self._counts([connection.inode for _, connection in found], info))
        if not len(chosen):
            raise NoData
        return {"edges": self._table([found[i] for i in chosen], info[chosen])}

    def _owned(self, diag: SockDiag, ranks: list[LocalRank]) -> list[tuple[LocalRank, Connection]]:
        self._owners.update(ranks, time.monotonic_ns())
        found = list(diag.connections(self._owners.may_own))
        unknown = {connection.inode for connection in found if self._owners.owner(connection.inode) is None}
        if unknown:
            self._owners.scan(time.monotonic_ns())
            self._owners.not_ours({inode for inode in unknown if self._owners.owner(inode) is None})
        pairs = ((self._owners.owner(connection.inode), connection) for connection in found)
        return [(rank, connection) for rank, connection in pairs if rank is not None]

    def _counts(self, inodes: list[int], info: np.ndarray) -> np.ndarray:
        moved = (info["bytes_acked"] + info["bytes_received"]).tolist()
        before = np.array([self._bytes.get(inode, 0) for inode in inodes], np.uint64)
        self._bytes = dict(zip(inodes, moved, strict=True))
        waits = (info["unacked"] > 0) | (info["notsent"] > 0) | (info["backoff"] > 0)
        counts: np.ndarray = waits | (np.array(moved, np.uint64) != before)
        return counts

    def _table(self, found: list[tuple[LocalRank, Connection]], info: np.ndarray) -> pa.Table:
        # Metric by metric, so that each column is made of few long runs.
        rows, metrics = len(found), len(_METRICS)

        which = np.tile(np.arange(rows), metrics)
        columns = {
            "job": look_up([rank.job for rank, _ in found], which),
            "attempt": np.tile(np.array([rank.attempt for rank, _ in found], np.int32), metrics),
            "at": np.full(rows * metrics, self._clock(), np.int64),
            "src_host": [self._host] * (rows * metrics),
            "src_rank": np.tile(np.array([rank.rank for rank, _ in found], np.int32), metrics),
            "src_addr": look_up([_text(c.local) for _, c in found], which),
            "dst_addr": look_up([_text(c.remote) for _, c in found], which),
            "kind": ["tcp"] * (rows * metrics),
            "metric": look_up(_METRICS, np.repeat(np.arange(metrics), rows)),
            "value": np.concatenate([info[metric].astype(np.float64) for metric in _METRICS]),
        }
        return records.build("edges", columns)


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
