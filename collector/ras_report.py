"""What NCCL's RAS says of a job: who is missing, who is behind, which communicator has failed.

Format: NVIDIA/nccl src/ras/client_support.cc, JSON since 2.28.7; the monitor's stream since 2.29.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_COMMUNICATORS = 4096
MAX_RANKS = 20_000
MAX_EVENT = 1 << 16
"""Longest object of the monitor's stream, bytes."""
_MAX_COUNT = 1 << 62


@dataclass(frozen=True, slots=True)
class Member:
    """A rank of a communicator, by its place there."""

    comm: str
    size: int
    place: int
    host: str
    pid: int
    gpu: int
    launched: dict[str, int]
    """Operations launched by function; empty for one that did not answer."""
    error: int = 0
    missing: str = ""
    """"dead" or "unresponsive" for one that did not answer."""


def read(text: str) -> list[Member]:
    """Return the members of all communicators in a status report; what cannot be read is left out.

    Raises:
        ValueError: It is no report.
    """
    try:
        report = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    communicators = report.get("communicators") if isinstance(report, dict) else None
    if not isinstance(communicators, list):
        raise ValueError("no status report of NCCL's RAS")  # noqa: TRY004 - it is the text that is wrong
    found: list[Member] = []
    for communicator in communicators[:MAX_COMMUNICATORS]:
        if not isinstance(communicator, dict):
            continue
        comm, size = _text(communicator.get("hash")), _int(communicator.get("size"))
        for key in ("ranks", "missing_ranks"):
            ranks = communicator.get(key)
            for rank in ranks if isinstance(ranks, list) else ():
                if isinstance(rank, dict) and comm and len(found) < MAX_RANKS:
                    found.append(_member(rank, comm, size, missing=key == "missing_ranks"))
    return [member for member in found if 0 <= member.place < member.size]


def behind(members: list[Member]) -> dict[tuple[str, int], tuple[str, int]]:
    """Return the members that launched fewer operations than others: (comm, place) → (function, how many fewer)."""
    most: dict[tuple[str, str], int] = {}
    for member in members:
        for function, count in member.launched.items():
            key = (member.comm, function)
            most[key] = max(most.get(key, 0), count)
    found: dict[tuple[str, int], tuple[str, int]] = {}
    for member in members:
        gaps = [(most[member.comm, function] - count, function) for function, count in member.launched.items()]
        gap, function = max(gaps, default=(0, ""))
        if gap > 0:
            found[member.comm, member.place] = (function, gap)
    return found


class MonitorStream:
    """Cuts the monitor's stream, objects of several lines one after another, into events."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, text: str) -> list[dict[str, Any]]:
        """Return the events that are whole now; what can be no event is left out."""
        self._text += text
        found: list[dict[str, Any]] = []
        while True:
            start = self._text.find("{")
            if start < 0:
                self._text = ""
                return found
            self._text = self._text[start:]
            try:
                event, end = self._decoder.raw_decode(self._text)
            except (ValueError, RecursionError):
                if len(self._text) < MAX_EVENT:
                    return found
                _, line, rest = self._text.partition("\n{")  # broken: an event begins a line
                self._text = "{" + rest if line else ""
                continue
            self._text = self._text[end:]
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                found.append(event)


def peer(event: dict[str, Any]) -> tuple[str, int, list[int]]:
    """Return host, process id and devices of an event's peer; "" and -1 where it does not say."""
    value = event.get("peer")
    value = value if isinstance(value, dict) else {}
    devices = value.get("nvml_devs")
    numbers = [_int(device) for device in devices[:64]] if isinstance(devices, list) else []
    return _text(value.get("host", value.get("addr"))), _int(value.get("pid")), numbers


def _member(rank: dict[str, Any], comm: str, size: int, *, missing: bool) -> Member:
    status, counts = rank.get("status"), rank.get("collective_counts")
    status = status if isinstance(status, dict) else {}
    counts = counts if isinstance(counts, dict) and not missing else {}
    gone = "dead" if status.get("considered_dead") is True else "unresponsive"
    return Member(
        comm=comm,
        size=size,
        place=_int(rank.get("rank")),
        host=_text(rank.get("host")),
        pid=_int(rank.get("pid")),
        gpu=_int(rank.get("nvml_dev")),
        launched={_text(name): count for name, value in list(counts.items())[:32] if (count := _int(value)) >= 0},
        error=max(_int(status.get("async_error")), 0),
        missing=gone if missing else "",
    )


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < _MAX_COUNT else -1


def _text(value: object) -> str:
    return value[:100] if isinstance(value, str) else ""
