"""GPUs through a dcgm-exporter on this host, for machines where the agent may not ask the driver itself.

By default such an exporter tells neither throttling nor NVLink errors, so NVML is better where it can be had.
"""

from __future__ import annotations

import csv
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from offbeat.collector import gpu_sample
from offbeat.collector.exchange import Address, Exchange, http_body, http_request
from offbeat.collector.exposition import samples
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, NoData
from offbeat.collector.xids import describe

if TYPE_CHECKING:
    import pyarrow as pa

SCRAPE_SECONDS = 10.0
"""How often the exporter is asked; it looks at the GPUs itself every 30 s unless told otherwise."""
ANSWER_SECONDS = 5.0
MAX_BYTES = 4 << 20
MAX_GPUS = 64
_PORT = 9400
_BLANKS = (2.0**47, 2.0**31 - 16)
"""What DCGM says for "no value", for fractions and for small numbers; up to 15 more mean other kinds of none."""
_INT64_BLANK = 2.0**63 - 4096
_REASONS = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
_VIOLATIONS = {
    "DCGM_FI_DEV_THERMAL_VIOLATION": "gpu_throttle_thermal",
    "DCGM_FI_DEV_POWER_VIOLATION": "gpu_throttle_power",
}
"""Times spent throttled: where they grow, the GPU is throttled now."""
_XID = "DCGM_FI_DEV_XID_ERRORS"
_FILE = Path(__file__).parents[1] / "dcgm.csv"


class DcgmSource:
    """Gauges and events of device kind `gpu`, under the names of the source `gpu`."""

    name = "dcgm"
    sampled = True

    def __init__(
        self, host: str, url: str, *, scrape_seconds: float = SCRAPE_SECONDS, clock: Clock = time.time_ns
    ) -> None:
        """Scrape *url*, such as `http://127.0.0.1:9400/metrics`; empty for nothing.

        Raises:
            ValueError: It is no such URL.
        """
        self._host = host
        self._clock = clock
        self._pace = Pace(scrape_seconds)
        self._exchange: Exchange | None = None
        self._before: dict[tuple[str, str], float] = {}
        self._address: Address | None = None
        if url:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            if parts.scheme != "http":
                raise ValueError(f"{url!r}: a dcgm-exporter is asked by http://")
            self._address = Address.parse(parts.netloc, _PORT)
            self._request = http_request("GET", parts.path or "/metrics", parts.netloc)

    def is_supported(self) -> bool:
        """Say whether there is an exporter to ask."""
        return self._address is not None

    def read(self) -> dict[str, pa.Table]:
        """Return what the exporter said; its answer comes some readings after the question.

        Raises:
            NoData: It has not answered yet, or it is not time to ask.
            OSError: It cannot be reached, or its answer cannot be read.
        """
        if self._address is None or (self._exchange is None and not self._pace.due()):
            raise NoData
        if self._exchange is None:
            self._exchange = Exchange(self._address, self._request, seconds=ANSWER_SECONDS, limit=MAX_BYTES)
        exchange, self._exchange = self._exchange, None
        answer = exchange.poll()
        if answer is None:
            self._exchange = exchange
            raise NoData
        return self._tables(http_body(answer).decode("utf-8", "replace"))

    def _tables(self, text: str) -> dict[str, pa.Table]:
        now = self._clock()
        found: dict[str, dict[str, float]] = {}
        events = Events(self._host)
        for field, labels, value in samples(text):
            gpu = labels.get("gpu", "")
            if not gpu.isascii() or not gpu.isdigit() or len(gpu) > 3 or "GPU_I_ID" in labels or _is_blank(value):
                continue
            if gpu not in found and len(found) >= MAX_GPUS:
                continue
            values = found.setdefault(gpu, {})
            if field in _table():
                metric, factor = _table()[field]
                summed = values.get(metric, 0.0) if metric == "gpu_nvlink_errors_total" else 0.0
                values[metric] = summed + value * factor
            elif field in _REASONS:
                values |= gpu_sample.throttling(int(value))
            elif field in _VIOLATIONS:
                before = self._before.get((gpu, field), value)
                values[_VIOLATIONS[field]] = float(value > before)
                self._before[gpu, field] = value
            elif field == _XID:
                self._xid(events, now, gpu, value)
        gauges = Gauges(self._host, now)
        for gpu, values in found.items():
            gauges.add("gpu", values, device_id=gpu)
        if not any(found.values()) and not events:
            raise NoData
        return {"gauges": gauges.table()} | ({"events": events.table()} if events else {})

    def _xid(self, events: Events, now: int, gpu: str, value: float) -> None:
        """Tell of a new XID: the gauge keeps the last for ever, so only a change says that there was one."""
        before = self._before.get((gpu, _XID), value)
        self._before[gpu, _XID] = value
        if value not in {before, 0.0}:
            code = int(value)
            message = f"XID {code} [{describe(code)}]"
            events.add(now, "xid", device_kind="gpu", device_id=gpu, code=code, message=message)


def _is_blank(value: float) -> bool:
    return abs(value) >= _INT64_BLANK or any(blank <= value < blank + 16 for blank in _BLANKS)


@functools.cache
def _table() -> dict[str, tuple[str, float]]:
    with _FILE.open(newline="", encoding="ascii") as file:
        return {row["field"]: (row["metric"], float(row["factor"])) for row in csv.DictReader(file)}
