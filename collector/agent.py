"""The node agent: reads its sources by the clock, hands batches to the outbox, and goes on whatever fails."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import structlog

from offbeat import wire
from offbeat.collector.collection import Collection
from offbeat.collector.holding import Holding
from offbeat.collector.interfaces import Interfaces
from offbeat.collector.links import Links
from offbeat.collector.machine import device_sources
from offbeat.collector.notify import notify
from offbeat.collector.orders import OrderLine
from offbeat.collector.outbox import Outbox
from offbeat.collector.ring.place import AGENT_FILE, make_directory
from offbeat.collector.ring.reader import reap
from offbeat.collector.sockets import SocketOwners
from offbeat.collector.sources.carrier import CarrierSource
from offbeat.collector.sources.heartbeat import HeartbeatSource
from offbeat.collector.sources.host import HostSource
from offbeat.collector.sources.nic import NicSource
from offbeat.collector.sources.process import ProcessSource
from offbeat.collector.sources.rings import RingsSource
from offbeat.collector.sources.states import StatesSource
from offbeat.collector.sources.tcp import TcpSource
from offbeat.collector.spool import Key, Spool
from offbeat.collector.stillness import StillnessTracker
from offbeat.collector.templates import Templates
from offbeat.collector.uplink import Uplink, connect
from offbeat.collector.urgency import Urgency
from offbeat.collector.window import Window
from offbeat.reducer import Reducer

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path
    from wsgiref.simple_server import WSGIServer

    from offbeat.collector.source import Source
    from offbeat.settings import AgentSettings

FLUSH_SECONDS = {"raw": 0.5, "reduced": 1.0}
"""Oldest that a row gets before it is sent; less costs more requests, more delays every finding. What is urgent does
not wait for it, and sums are made of about a second anyway."""
RELAXED = 2
"""Times that the pause between polls is longer while only sums are sent and nothing is urgent; a poll costs much the
same whatever it finds."""
DRAIN_SECONDS = 5.0
"""How long a stopping agent tries to send what is left; the rest is sent by the next one."""
_SYNC_SECONDS = 2.0
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")

_log = structlog.get_logger()


class AgentError(Exception):
    """The agent cannot start; the message says why and what to change."""


class Readers:
    """The agent's sources, wired to one another."""

    def __init__(
        self,
        settings: AgentSettings,
        incarnation: Callable[[], int] = time.time_ns,
        lost_batches: Callable[[], int] = lambda: 0,
    ) -> None:
        """Make the sources; *incarnation* and *lost_batches* are what heartbeats say.

        Raises:
            AgentError: A setting of a source cannot be used.
        """
        host = settings.host
        self.rings = RingsSource(host, settings.ring_dir)
        ranks = self.rings.ranks
        tracker = StillnessTracker()
        tcp = TcpSource(host, ranks, SocketOwners())
        watched = Interfaces(tcp.addresses)
        links = Links()
        beat = HeartbeatSource(
            host,
            ranks,
            incarnation=incarnation,
            overwritten=self.rings.overwritten,
            lost_batches=lost_batches,
            interval_ns=int(settings.sample_seconds * 1e9),
        )
        try:
            devices = device_sources(settings, ranks, watched)
        except ValueError as error:
            raise AgentError(f"a source's setting cannot be used: {error}") from None
        # Rings first: they say which ranks live; TCP before NIC: it says which addresses are used.
        sources: list[Source] = [
            self.rings,
            StatesSource(host, ranks, tracker),
            beat,
            ProcessSource(host, ranks, tracker),
            tcp,
            NicSource(host, watched, carrier=links.carrier),
            CarrierSource(host, watched, carrier=links.carrier),
            HostSource(host),
            *devices,
        ]
        self.urgency = Urgency()
        self.window = Window(settings.window_bytes)
        self._reducer = Reducer(incarnation()) if settings.detail == "reduced" else None
        self._holding = Holding()
        self.ending = False
        """Whether this is the last reading: nothing is held back then."""
        self.collection = Collection(sources, self._urgent, self._prepare)

    def _prepare(self, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
        """Keep single operations for drill-downs, and reduce them where that is wanted."""
        now = time.time_ns()
        if "collectives" in tables:
            self.window.keep(tables["collectives"], now)
        if self._reducer is None:
            return tables
        everything = self.ending or self.collection.urgent
        return self._holding.take(self._reducer.reduce(tables, now), now, everything=everything)

    def _urgent(self, name: str, table: pa.Table) -> bool:
        """Say whether *table* must not wait: an event, or an operation that lasts unusually long."""
        return name == "events" or (name == "collectives" and self.urgency.urgent(table))


class Agent:
    """One host's agent. It holds its spool from construction to `close`."""

    def __init__(self, settings: AgentSettings) -> None:
        """Take the spool and connect the parts; nothing is read or sent yet.

        Raises:
            AgentError: The host's name cannot be used.
            SpoolError: Another agent has the spool, or it cannot be used.
            UplinkError: The service's URL cannot be used.
        """
        check_host(settings.host)
        self._settings = settings
        token = settings.token.get_secret_value()
        client = connect(settings.url, token)
        self.outbox = Outbox(
            Spool(settings.spool_dir, settings.host),
            limit_bytes=settings.spool_bytes,
            max_age_seconds=settings.spool_hours * 3600,
        )
        self.uplink = Uplink(self.outbox, settings.host, client)
        self.readers = Readers(settings, lambda: self.outbox.incarnation, self.outbox.lost)
        allowed = [word.strip() for word in settings.orders.split(",") if word.strip()]
        readers = self.readers
        try:
            self._templates = Templates(allowed, readers.urgency, readers.window, readers.collection.add)
        except ValueError as error:
            self.outbox.close()
            raise AgentError(f"a setting cannot be used: {error}") from None
        self._metrics = self._serve_metrics()
        self.line = OrderLine(settings.host, connect(settings.url, token)) if allowed else None
        self._reapable: list[tuple[Path, Key]] = []
        self._flush_seconds = FLUSH_SECONDS[settings.detail]
        self._flushed_at = 0.0
        self._hurry = False

    def run(self, stop: threading.Event) -> int:
        """Read and send until *stop* is set, then once more; return the exit code."""
        _raise_file_limit()
        _log.info(
            "agent started",
            host=self._settings.host,
            url=self._settings.url,
            ring_dir=str(self._settings.ring_dir),
            recovered_batches=self.outbox.counts["recovered"],
            not_on_this_machine=self.readers.collection.unsupported,
        )
        self.uplink.start()
        if self.line is not None:
            self.line.start()
        notify("READY=1")
        sample = self._settings.sample_seconds
        next_poll = next_sample = time.monotonic()
        while not stop.is_set() and self.uplink.fatal is None:
            now = time.monotonic()
            due = now >= next_sample
            if due:
                next_sample = _next(next_sample, sample, now)
                notify("WATCHDOG=1")
                self._show_presence()
            self.poll(sample=due)
            next_poll = _next(next_poll, self._period(), time.monotonic())
            stop.wait(max(0.0, next_poll - time.monotonic()))
        return self._finish()

    def poll(self, *, sample: bool) -> None:
        """Read the sources once, and hand on what they said if it is time."""
        collection = self.readers.collection
        collection.read(sample=sample)
        self._obey()
        now = time.monotonic()
        self._hurry = collection.urgent
        if self._hurry or now - self._flushed_at >= self._flush_seconds - self._settings.poll_seconds / 2:
            self._flushed_at = now
            self.flush()
        self._reap()

    def _period(self) -> float:
        """Return seconds until the next poll: longer where only sums are sent and nothing is urgent."""
        relaxed = self._settings.detail == "reduced" and not self._hurry
        return self._settings.poll_seconds * (RELAXED if relaxed else 1)

    def flush(self) -> None:
        """Hand everything read so far to the outbox."""
        last = None
        for tables in self.readers.collection.take():
            last = self.outbox.append(wire.encode(tables))
        finished = self.readers.rings.take_finished()
        if finished:
            key = Key(self.outbox.incarnation, last or 0)
            self._reapable += [(path, key) for path in finished]

    def close(self) -> None:
        """Let go of the spool, and of the port."""
        if self._metrics is not None:
            self._metrics.shutdown()
            self._metrics.server_close()
        self.outbox.close()

    def _serve_metrics(self) -> WSGIServer | None:
        if not self._settings.metrics:
            return None
        # Imported where it is wanted: the library costs an agent without it some megabytes.
        from offbeat.collector.exporter import AgentMetrics, serve  # noqa: PLC0415

        shown = AgentMetrics(self.outbox, self.uplink, self.readers.rings, self.readers.collection)
        try:
            return serve(self._settings.metrics, shown)
        except (ValueError, OSError) as error:
            self.outbox.close()
            raise AgentError(f"metrics (OFFBEAT_METRICS): {error}") from None

    def _obey(self) -> None:
        """Carry out the orders that have come."""
        if self.line is not None:
            for order in self.line.take():
                self.line.answer(order, *self._templates.carry_out(order))

    def _finish(self) -> int:
        notify("STOPPING=1")
        if self.line is not None:
            self.line.stop()
        fatal = self.uplink.fatal
        self.readers.collection.read(sample=fatal is None)
        self.readers.ending = True
        self.flush()
        self.outbox.flush(_SYNC_SECONDS)
        self.uplink.stop(DRAIN_SECONDS if fatal is None else 0.0)
        self._reap()
        batches, size = self.outbox.size()
        counts = self.outbox.counts + self.readers.rings.counts + self.readers.collection.errors
        _log.info("agent stopped", left_batches=batches, left_bytes=size, counts=dict(counts))
        if fatal is not None:
            _log.error("agent gave up", why=fatal)
        return 0 if fatal is None else 1

    def _reap(self) -> None:
        waiting = []
        for path, key in self._reapable:
            if self.outbox.safe(key):
                reap(path)
            else:
                waiting.append((path, key))
        self._reapable = waiting

    def _show_presence(self) -> None:
        """Touch the file by which recorders know that somebody reads."""
        with contextlib.suppress(OSError):
            make_directory(self._settings.ring_dir)
            file = self._settings.ring_dir / AGENT_FILE
            # Non-blocking: others may write this directory, too, and a FIFO of that name would stop the agent here.
            flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                descriptor = os.open(file, flags)
            except FileNotFoundError:
                descriptor = os.open(file, flags | os.O_CREAT, 0o644)
            try:
                os.utime(descriptor)
            finally:
                os.close(descriptor)


def once(settings: AgentSettings) -> dict[str, pa.Table]:
    """Read all sources once and return what an agent would send, sending and changing nothing.

    Raises:
        AgentError: The host's name cannot be used.
    """
    check_host(settings.host)
    readers = Readers(settings)
    readers.ending = True
    readers.collection.read(sample=True)
    parts: dict[str, list[pa.Table]] = {}
    for batch in readers.collection.take():
        for name, table in batch.items():
            parts.setdefault(name, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def check_host(host: str) -> None:
    """Make sure that *host* can name this machine in a request.

    Raises:
        AgentError: It cannot.
    """
    if not _HOST.fullmatch(host):
        raise AgentError(f"host name {host!r}: use letters, digits, '.', '_' and '-' (OFFBEAT_HOST or --host)")


def _next(due: float, period: float, now: float) -> float:
    """Return the next time of a beat, leaving out those that were missed."""
    return due + period * max(1, int((now - due) // period) + 1)


def _raise_file_limit() -> None:
    """Allow as many open files as we may: the agent keeps one for each thread of each rank."""
    with contextlib.suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
