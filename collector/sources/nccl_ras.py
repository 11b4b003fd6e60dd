"""NCCL's RAS: launch counts of all ranks of a job, ranks that do not answer, and peers that died.

One query makes all processes of a job answer, so only the host of a job's rank 0 asks; where no recorder says who is
here, every host does, and seldom. Counts are launches, not completions: equal counts prove nothing.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from offbeat.collector import exchange, ras_report
from offbeat.collector.addresses import Address, host_addresses
from offbeat.collector.exchange import Exchange
from offbeat.collector.pace import Pace
from offbeat.collector.ras_report import MonitorStream
from offbeat.collector.rows import Events, Gauges
from offbeat.collector.source import Clock, LocalRank, NoData, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.collector.ras_report import Member

ASK_SECONDS = 15.0
ASK_UNKNOWN_SECONDS = 120.0
"""How often to ask where no recorder says who is here; each host of a job then asks the whole job."""
ANSWER_SECONDS = 20.0
"""Longest wait for a report; collecting it takes RAS up to ten seconds."""
CONFIRM = 2
"""Reports in a row in which a rank must be behind before it is told: launches go on while a report is collected."""
_PORT = 28028
_ASK = b"CLIENT PROTOCOL 2\nTIMEOUT 5\nSET FORMAT json\nVERBOSE STATUS\n"
_MONITOR = b"CLIENT PROTOCOL 2\nSET FORMAT json\nMONITOR all\n"
_MAX_REPORT = 16 << 20
_PEER_EVENTS = {"peer_dead", "peer_unresponsive", "peer_timeout_dead", "peer_send_stuck", "peer_recovered"}
"""Of the monitor's events those that say something of a peer's health; the group `trace` tells more of them."""


class NcclRasSource:
    """Gauges of device kind `communicator`, device id `<hash>/<rank in it>`; events of processes."""

    name = "nccl_ras"
    sampled = True

    def __init__(
        self,
        host: str,
        ranks: Ranks,
        address: str,
        *,
        ask_seconds: float = ASK_SECONDS,
        ask_unknown_seconds: float = ASK_UNKNOWN_SECONDS,
        addresses: Callable[[], list[Address]] = host_addresses,
        clock: Clock = time.time_ns,
    ) -> None:
        """Ask at *address*, such as `localhost:28028`; empty for nothing.

        Raises:
            ValueError: It is no address.
        """
        self._host = host
        self._ranks = ranks
        self._address = exchange.Address.parse(address, _PORT) if address else None
        self._addresses = addresses
        self._known, self._unknown = Pace(ask_seconds), Pace(ask_unknown_seconds)
        self._clock = clock
        self._exchange: Exchange | None = None
        self._monitor: Exchange | None = None
        self._monitor_pace = Pace(ask_seconds)
        self._stream = MonitorStream()
        self._behind: dict[tuple[str, int], tuple[str, int, int]] = {}
        self._told: set[tuple[str, str, int]] = set()

    def is_supported(self) -> bool:
        """Say whether there is anybody to ask."""
        return self._address is not None

    def read(self) -> dict[str, pa.Table]:
        """Return what the last report said; it comes some readings after the question.

        Raises:
            NoData: There is no report yet, it is not time to ask, or another host asks.
        """
        if self._address is None:
            raise NoData
        now, events = self._clock(), Events(self._host)
        gauges = self._report(self._address, events, now)
        self._watch(self._address, events, now)
        tables = {} if gauges is None else {"gauges": gauges.table()}
        if events:
            tables["events"] = events.table()
        if not tables:
            raise NoData
        return tables

    def _report(self, address: exchange.Address, events: Events, now: int) -> Gauges | None:
        """Ask for a report if it is time, and read it if it is there."""
        if self._exchange is None and not self._due():
            return None
        try:
            asked = self._exchange or Exchange(address, _ASK, seconds=ANSWER_SECONDS, limit=_MAX_REPORT)
            self._exchange = None
            answer = asked.poll()
        except OSError:  # no job with NCCL runs here now
            return None
        if answer is None:
            self._exchange = asked
            return None
        return self._read(answer, events, now)

    def _watch(self, address: exchange.Address, events: Events, now: int) -> None:
        """Follow the monitor's stream, which tells at once of peers that come and die."""
        try:
            if self._monitor is None:
                if not (self._asks() and self._monitor_pace.due()):
                    return
                self._monitor, self._stream = Exchange(address, _MONITOR, seconds=math.inf), MonitorStream()
            rest = self._monitor.poll()
            data = self._monitor.take() if rest is None else rest
            if rest is not None:
                self._monitor = None
        except OSError:  # over; RAS before NCCL 2.29 knows no monitor
            self._monitor = None
            return
        for event in self._stream.feed(data.decode("utf-8", "replace")):
            kind = event["event"].lower()
            if kind in _PEER_EVENTS:
                host, pid, devices = ras_report.peer(event)
                message = f"RAS: {event['event'][:40]}: process {pid} on {host}, GPUs {devices}"
                local = self._local() if host in self._own() else {}
                events.add(
                    now,
                    f"nccl_ras_{kind}",
                    rank=local.get(pid),
                    device_kind="process",
                    device_id=str(pid),
                    message=message,
                )

    def _local(self) -> dict[int, LocalRank]:
        return {rank.pid: rank for rank in self._ranks() if rank.readable}

    def _own(self) -> set[str]:
        try:
            return {address.text for address in self._addresses()} | {"127.0.0.1", "::1"}
        except OSError:
            return {"127.0.0.1", "::1"}

    def _asks(self) -> bool:
        """Say whether this host is the one that asks for its job."""
        return any(rank.rank == 0 for rank in self._ranks())

    def _due(self) -> bool:
        if any(rank.rank >= 0 for rank in self._ranks()):
            return self._asks() and self._known.due()
        return self._unknown.due()

    def _read(self, answer: bytes, events: Events, now: int) -> Gauges | None:
        text = answer.decode("utf-8", "replace")
        start = text.find("{")
        try:
            members = ras_report.read(text[start:] if start >= 0 else "")
        except ValueError as error:
            raise OSError(0, f"RAS: {error}: {text[:100]!r}") from None
        if not members:
            return None
        gauges = Gauges(self._host, now)
        processes, own = self._local(), self._own()
        local = {(m.comm, m.place): processes[m.pid] for m in members if m.host in own and m.pid in processes}
        late = ras_report.behind(members)
        for member in members:
            values = {f"nccl_ras_{_snake(name)}_launched_total": float(n) for name, n in member.launched.items()}
            values["nccl_ras_behind"] = float(late.get((member.comm, member.place), ("", 0))[1])
            values["nccl_ras_missing"] = float(bool(member.missing))
            rank = local.get((member.comm, member.place))
            gauges.add("communicator", values, device_id=f"{member.comm}/{member.place}", rank=rank)
        self._judge(events, now, members, late, local)
        return gauges

    def _judge(
        self,
        events: Events,
        now: int,
        members: list[Member],
        late: dict[tuple[str, int], tuple[str, int]],
        local: dict[tuple[str, int], LocalRank],
    ) -> None:
        """Tell once of each member that is missing, has failed, or stays behind."""
        still: dict[tuple[str, int], tuple[str, int, int]] = {}
        present: set[tuple[str, str, int]] = set()
        for member in members:
            key = (member.comm, member.place)
            said = []
            if member.missing:
                said.append((f"nccl_ras_{member.missing}", "does not answer"))
            if member.error:
                said.append(("nccl_ras_error", f"has the error {member.error}"))
            if key in late:
                function, gap = late[key]
                count = member.launched.get(function, 0)
                before = self._behind.get(key)
                times = before[2] + 1 if before is not None and before[:2] == (function, count) else 1
                still[key] = (function, count, times)
                if times >= CONFIRM:
                    said.append(
                        (
                            "nccl_ras_behind",
                            f"has launched {gap} operations {function} fewer than others, and none since",
                        )
                    )
            for kind, what in said:
                present.add((kind, *key))
                if (kind, *key) in self._told:
                    continue
                where = f"rank {member.place} of {member.size} in {member.comm}"
                events.add(
                    now,
                    kind,
                    rank=local.get(key),
                    device_kind="communicator",
                    device_id=f"{member.comm}/{member.place}",
                    code=member.error or None,
                    message=f"{where} (process {member.pid} on {member.host}) {what}",
                )
        self._behind, self._told = still, present


def _snake(name: str) -> str:
    """Return `AllReduce` as `all_reduce`."""
    text = "".join(f"_{c.lower()}" if c.isupper() else c for c in name if c.isascii() and c.isalnum())
    return text.strip("_") or "other"
