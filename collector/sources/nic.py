"""The network adapters that the job uses: carrier, bytes, errors, drops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs
from offbeat.collector.rows import Gauges
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.collector.interfaces import Interfaces

# Columns of /proc/net/dev behind the colon.
_COLUMNS = {"rx_bytes": 0, "rx_errors": 2, "rx_dropped": 3, "tx_bytes": 8, "tx_errors": 10, "tx_dropped": 11}


class NicSource:
    """Gauges of device kind `nic`; counters are cumulative."""

    name = "nic"
    sampled = True

    def __init__(
        self,
        host: str,
        watched: Interfaces,
        *,
        proc: Path = Path("/proc"),
        carrier: Callable[[str], bool | None],
        clock: Clock = time.time_ns,
    ) -> None:
        """Read the interfaces of *watched*, which is refreshed here; *carrier* tells of one by name, None if gone."""
        self._host = host
        self._watched = watched
        self._proc = proc
        self._carrier = carrier
        self._clock = clock

    def is_supported(self) -> bool:
        """Say whether the kernel counts what its interfaces do."""
        return (self._proc / "net" / "dev").exists()

    def read(self) -> dict[str, pa.Table]:
        """Return one row an interface and metric.

        Raises:
            NoData: The job uses no interface but loopback.
        """
        self._watched.refresh()
        names = self._watched.names()
        if not names:
            raise NoData
        counters = self._counters()
        gauges = Gauges(self._host, self._clock())
        for name in names:
            link = self._carrier(name)
            values = {} if link is None else {"carrier": float(link)}
            values |= counters.get(name, {})
            gauges.add("nic", values, device_id=name)
        return {"gauges": gauges.table()}

    def _counters(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for line in procfs.read(self._proc / "net" / "dev").decode("ascii", "replace").splitlines():
            name, colon, rest = line.partition(":")
            fields = rest.split()
            if colon and len(fields) >= 16:
                found[name.strip()] = {metric: float(fields[column]) for metric, column in _COLUMNS.items()}
        return found
