"""NVIDIA GPUs through NVML: clocks, throttling, power, heat, memory errors, PCIe, NVLink, XIDs, and whose they are.

A thread of its own asks, because the library may not answer for minutes when a GPU fails, and just then the agent has
to go on.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import structlog

from offbeat import records
from offbeat.collector import gpu_sample
from offbeat.collector.nvml import Device, Nvml, NvmlError
from offbeat.collector.pace import Pace
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks
from offbeat.collector.xids import describe

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK_SECONDS = 2.0
"""How often clocks, power and heat are read."""
SLOW_SECONDS = 10.0
"""How often error counters, NVLinks and processes are read: more calls, and nothing there changes fast."""
STUCK_SECONDS = 15.0
"""How long the library may be silent before that itself is told; it waits 6 s for firmware that does not answer."""
TELL_AGAIN_SECONDS = 30.0
"""How often it is said which rank has which GPU; without it a service that starts anew never learns it."""
_START_SECONDS = 5.0
_FIRST_SECONDS = 1.0
"""How long the first reading waits for the thread, so that an agent that reads only once has something."""
_MAX_ROWS = 20_000
"""Readings kept for an agent that does not take them."""

_log = structlog.get_logger()


class GpuSource:
    """Gauges and events of device kind `gpu`, device id its index; rows of `ranks` with the GPU of each rank."""

    name = "gpu"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        *,
        library: Callable[[], Nvml] = Nvml,
        clock: Clock = time.time_ns,
    ) -> None:
        """Watch this machine's GPUs through *library*."""
        self.tell_xids = True
        """Whether to tell XIDs; not where the kernel's log does, which says more. To be set before the start."""
        self._library = library
        self._host = host
        self._ranks = ranks
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._sampled = threading.Event()
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._readings: list[tuple[int, str, dict[str, float]]] = []
        self._found: list[tuple[int, str, str, int | None, str]] = []
        self._owners: dict[int, Device] = {}
        self._told: dict[tuple[str, int, int], tuple[str, float]] = {}
        self._addresses: dict[str, str] = {}
        self._heard_at = time.monotonic()
        self._stuck = False
        self._patience = _FIRST_SECONDS

    @property
    def failure(self) -> str | None:
        """Why there is nothing to read; None if there is."""
        return self._failure

    def addresses(self) -> dict[str, str]:
        """Return the index of each GPU by its PCI address."""
        return self._addresses

    def is_supported(self) -> bool:
        """Say whether NVML starts; one that takes its time is believed to."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="offbeat-gpu", daemon=True)
            self._thread.start()
        self._ready.wait(_START_SECONDS)
        return self._failure is None

    def read(self) -> dict[str, pa.Table]:
        """Return what the thread has read since.

        Raises:
            NoData: It has read nothing new.
        """
        if self._thread is None or self._failure is not None:
            raise NoData
        self._sampled.wait(self._patience)
        self._patience = 0.0
        with self._lock:
            readings, self._readings = self._readings, []
            found, self._found = self._found, []
        tables: dict[str, pa.Table] = {}
        gauges = [self._gauges(*reading) for reading in readings]
        if gauges:
            tables["gauges"] = pa.concat_tables(gauges)
        events = Events(self._host)
        for at, kind, device, code, message in found:
            events.add(at, kind, device_kind="gpu", device_id=device or None, code=code, message=message)
        self._silence(events)
        if events:
            tables["events"] = events.table()
        owned = self._ranks_of_gpus()
        if owned:
            columns = {column: [row[column] for row in owned] for column in owned[0]}
            tables["ranks"] = records.build("ranks", columns)
        if not tables:
            raise NoData
        return tables

    def close(self) -> None:
        """Let the thread end."""
        self._stop.set()

    def _gauges(self, at: int, device: str, values: dict[str, float]) -> pa.Table:
        gauges = Gauges(self._host, at)
        gauges.add("gpu", values, device_id=device)
        return gauges.table()

    def _silence(self, events: Events) -> None:
        """Tell once when the library stops answering, and once when it does again."""
        silent = time.monotonic() - self._heard_at
        stuck = self._ready.is_set() and silent > STUCK_SECONDS
        if stuck != self._stuck:
            self._stuck = stuck
            kind = "gpu_telemetry_stuck" if stuck else "gpu_telemetry_back"
            message = f"NVML has not answered for {silent:.0f} s" if stuck else "NVML answers again"
            events.add(self._clock(), kind, device_kind="gpu", message=message)

    def _ranks_of_gpus(self) -> list[dict[str, Any]]:
        """Return rows that say which GPU a rank has, when that is new and again now and then."""
        now, rows = time.monotonic(), []
        ranks: dict[tuple[str, int, int], LocalRank] = {
            (rank.job, rank.attempt, rank.rank): rank for rank in self._ranks() if rank.readable and rank.job
        }
        self._told = {key: told for key, told in self._told.items() if key in ranks}
        for key, rank in ranks.items():
            device = self._owners.get(rank.pid)
            if device is None:
                continue
            uuid, at = self._told.get(key, ("", 0.0))
            if uuid == device.uuid and now - at < TELL_AGAIN_SECONDS:
                continue
            self._told[key] = (device.uuid, now)
            rows.append(
                {
                    "job": rank.job,
                    "attempt": rank.attempt,
                    "rank": rank.rank,
                    "host": self._host,
                    "pid": rank.pid,
                    "gpu": device.index,
                    "gpu_uuid": device.uuid or None,
                }
            )
        return rows

    def _watch(self) -> None:
        """Run in the thread: ask until told to stop; whatever the library does, the agent goes on without it."""
        try:
            nvml = self._library()
            devices = nvml.devices()
            if not devices:
                raise NvmlError("NVML knows no GPU")
            self._addresses = {device.address: device.id for device in devices if device.address}
            self._ready.set()
            self._loop(nvml, devices)
        except NvmlError as error:
            self._failure = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a driver makes of a call, the agent goes on
            self._failure = f"{type(error).__name__}: {error}"
            _log.exception("reading GPUs failed")
        finally:
            self._ready.set()
            self._sampled.set()

    def _loop(self, nvml: Nvml, devices: list[Device]) -> None:
        wait = nvml.watch(devices) if self.tell_xids else None
        quick, slow = Pace(QUICK_SECONDS), Pace(SLOW_SECONDS)
        lost: set[str] = set()
        while not self._stop.is_set():
            if quick.due():
                self._sample(nvml, devices, slow=slow.due())
                for device in devices:
                    if device.lost and device.id not in lost:
                        lost.add(device.id)
                        self._event("gpu_lost", device.id, None, f"NVML has lost GPU {device.id} ({device.address})")
            self._heard_at = time.monotonic()
            self._sampled.set()
            if wait is None:
                self._stop.wait(QUICK_SECONDS)
                continue
            try:
                event = wait(500)
            except NvmlError:
                wait = None
                continue
            if event is not None:
                device_id, code = event
                self._event("xid", device_id, code, f"XID {code} [{describe(code)}]")

    def _sample(self, nvml: Nvml, devices: list[Device], *, slow: bool) -> None:
        owners: dict[int, Device] = {}
        for device in devices:
            if device.lost:
                continue
            at = self._clock()
            values = gpu_sample.quick(nvml, device)
            if slow:
                values |= gpu_sample.slow(nvml, device)
                owners |= dict.fromkeys(nvml.processes(device), device)
            self._heard_at = time.monotonic()
            if values:
                with self._lock:
                    self._readings.append((at, device.id, values))
                    del self._readings[:-_MAX_ROWS]
        if slow:
            self._owners = owners

    def _event(self, kind: str, device: str, code: int | None, message: str) -> None:
        with self._lock:
            self._found.append((self._clock(), kind, device, code, message))
            del self._found[:-_MAX_ROWS]
