"""What a dump of torch's Flight Recorder says of each process group: how far it came, and what is unfinished.

Keys as in torch/csrc/distributed/c10d/FlightRecorder.hpp, versions 2.x; pickle or JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from offbeat.collector import plain_pickle

MAX_GROUPS = 1024
_KEYS = frozenset({"entries", "pg_config", "pg_status"})
_RANK = re.compile(r"rank[_\-.]?(\d{1,7})", re.IGNORECASE | re.ASCII)
_LAST_NUMBER = re.compile(r"(\d{1,7})\D*$", re.ASCII)
_MAX = 1 << 62


@dataclass(slots=True)
class Group:
    """One process group as one rank sees it; -1 for unknown numbers, 0 for an unknown time (Unix ns)."""

    name: str
    enqueued: int = -1
    completed: int = -1
    unfinished: int = 0
    first: int = -1
    """Sequence number of the first operation that is unfinished."""
    op: str = ""
    state: str = ""
    created_at: int = 0


def rank_of(name: str) -> int | None:
    """Return the rank in a file's name: behind its last `rank`, else its last number."""
    stem = re.sub(r"(\.[A-Za-z]\w{0,7})+$", "", name)
    found = _RANK.findall(stem)
    if found:
        return int(found[-1])
    last = _LAST_NUMBER.search(stem)
    return int(last[1]) if last else None


def read(data: bytes) -> list[Group]:
    """Return the groups of a dump.

    Raises:
        ValueError: It is no dump.
    """
    if data.lstrip()[:1] == b"{":
        try:
            value = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    else:
        value = plain_pickle.loads(data)
    if not isinstance(value, dict) or not any(isinstance(key, str) and key in _KEYS for key in value):
        raise ValueError("no dump of the Flight Recorder")
    groups: dict[str, Group] = {}
    names: dict[str, str] = {}
    entries = value.get("entries")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            _entry(entry, groups, names)
    status = value.get("pg_status")
    for number, said in status.items() if isinstance(status, dict) else ():
        if isinstance(said, dict):
            name = names.get(_text(number), _text(number))
            if len(groups) < MAX_GROUPS or name in groups:
                group = groups.setdefault(name, Group(name))
                group.enqueued = _int(said.get("last_enqueued_collective"))
                group.completed = _int(said.get("last_completed_collective"))
    return list(groups.values())


def _entry(entry: dict[str, Any], groups: dict[str, Group], names: dict[str, str]) -> None:
    said = entry.get("process_group")
    words = [_text(word) for word in said[:2]] if isinstance(said, (list, tuple)) else []
    number = _text(entry.get("pg_id"))
    name = next((word for word in reversed(words) if word and word != "undefined"), number)
    names.setdefault(number, name)
    if len(groups) >= MAX_GROUPS and name not in groups:
        return
    group = groups.setdefault(name, Group(name))
    seq, p2p = _int(entry.get("collective_seq_id")), entry.get("is_p2p") in {True, "true", "True"}
    if p2p or seq < 0 or entry.get("state") == "completed" or entry.get("retired") in {True, "true", "True"}:
        return
    group.unfinished += 1
    if group.first < 0 or seq < group.first:
        group.first, group.op = seq, _text(entry.get("profiling_name")).rpartition(":")[2]
        group.state, group.created_at = _text(entry.get("state")), max(_int(entry.get("time_created_ns")), 0)


def _int(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit() and len(value) < 20:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < _MAX else -1


def _text(value: object) -> str:
    return str(value)[:200] if isinstance(value, (str, int)) else ""
