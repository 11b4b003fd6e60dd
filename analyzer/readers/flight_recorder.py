"""PyTorch Flight Recorder dumps, pickle or JSON, of format versions 2.0 to 2.10 and whatever keeps their keys.

The keys are those of torch/csrc/distributed/c10d/FlightRecorder.hpp. Dumps differ by version, by backend and by
pickle or JSON (numbers as strings, 0 for "unknown", `entries` absent when empty), so nothing is required but one of
`entries`, `pg_config` and `pg_status`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from offbeat.analyzer.readers import safe_pickle
from offbeat.analyzer.readers.dumps import Dump, Entry, GroupConfig, Status, canonical
from offbeat.analyzer.readers.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable

HISTORY = 256
"""Finished operations kept of each group: enough to learn its sequence; all of a long ring only costs time."""
_EVENTFUL = frozenset({"nccl", "ncclx", "rccl", "rcclx"})
"""Backends that see the device finish. There an entry retired without `completed` has timed out; elsewhere (gloo)
entries never leave `scheduled`, and only `retired` tells that an operation ended."""
_KEYS = frozenset({"entries", "pg_config", "pg_status"})
_RANK = re.compile(r"rank[_\-.]?(\d{1,7})", re.IGNORECASE)
_DIGITS = re.compile(r"(\d{1,7})(?!.*\d)")
_INT64 = 1 << 63


def rank_of(name: str) -> int | None:
    """Return the rank in a file name: after its last `rank`, else its last number; None if there is none."""
    stem = re.sub(r"(\.[A-Za-z]\w{0,7})+$", "", name)
    found = _RANK.findall(stem)
    if found:
        return int(found[-1])
    number = _DIGITS.search(stem)
    return int(number[1]) if number else None


def parse(data: bytes, *, path: str, rank: int, written: int = 0) -> tuple[Dump, int]:
    """Read one dump.

    Args:
        data: The file's content.
        path: Where it came from, for messages.
        rank: Global rank of the process.
        written: When the file was last modified, Unix ns.

    Returns:
        The dump, and how many of its entries could not be read.

    Raises:
        ReadError: It is neither pickle nor JSON, or holds no dump.
    """
    value = _load(data)
    if not isinstance(value, dict) or not _KEYS & value.keys():
        raise ReadError("no Flight Recorder dump: it has neither entries nor pg_config nor pg_status")
    raw = value.get("entries")
    raw = raw if isinstance(raw, list) else []
    entries, first, broken, library = _entries(raw)
    unfinished_only = library in _EVENTFUL and all(entry.open for entry in entries)
    entries, batching = _coalesce(entries)
    times = [t for e in entries for t in (e.created, e.finished) if t is not None]
    return Dump(
        path=path,
        rank=rank,
        version=_text(value.get("version")),
        library=library,
        configs=list(_configs(value.get("pg_config"))),
        status=dict(_statuses(value.get("pg_status"))),
        entries=entries,
        records=len(raw),
        oldest=min(times, default=0),
        newest=max(times, default=0),
        written=written,
        complete=first == 0,
        unfinished_only=unfinished_only,
        batching=batching,
    ), broken


def _load(data: bytes) -> Any:
    if data.lstrip()[:1] not in {b"{", b"["}:
        return safe_pickle.loads(data)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReadError(f"not readable JSON: {error}"[:160]) from None


def _entries(raw: list[Any]) -> tuple[list[Entry], int, int, str]:
    """Return the entries worth keeping, the oldest record's number, how many were unreadable, and the backend."""
    values = [value for value in raw if isinstance(value, dict)]
    numbers = [_int(value.get("record_id"), index) for index, value in enumerate(values)]
    eventful = any(value.get("state") in ("started", "completed") for value in values)
    kept: list[Entry] = []
    broken, library = len(raw) - len(values), ""
    seen: dict[tuple[str, str, bool], int] = {}
    for index in sorted(range(len(values)), key=numbers.__getitem__, reverse=True):  # the newest matter most
        try:
            entry, prefix = _entry(values[index], numbers[index], eventful=eventful)
        except (AttributeError, LookupError, TypeError, ValueError):
            broken += 1
            continue
        library = library or prefix
        key = (entry.group, entry.desc, entry.p2p)
        seen[key] = seen.get(key, 0) + 1
        if entry.open or seen[key] <= HISTORY:
            kept.append(entry)
    kept.reverse()
    return kept, min(numbers, default=-1), broken, library


def _entry(value: dict[str, Any], number: int, *, eventful: bool) -> tuple[Entry, str]:
    prefix, native, op = _call(value["profiling_name"])
    group = value.get("process_group")
    if isinstance(group, str):
        group = (group, "")
    pg_id = _int(value.get("pg_id"), -1)
    p2p = _flag(value.get("is_p2p", op in {"send", "recv"}))
    p2p_count = _int(value.get("p2p_seq_id"), 0)
    seq = p2p_count if p2p else _int(value.get("collective_seq_id", value.get("seq_id")), -1)
    if seq < 0:
        raise ValueError("no sequence number")
    state, retired = value.get("state"), _flag(value.get("retired", False))
    finished = _time(value.get("time_discovered_completed_ns"))
    done = state == "completed" or finished is not None
    done = done or (retired and not eventful and prefix not in _EVENTFUL)
    entry = Entry(
        record=number,
        pg_id=pg_id,
        group=_text(group[0]) if group else str(pg_id),
        desc=_text(group[1]) if group and len(group) > 1 else "",
        seq=seq,
        native=native,
        op=op,
        p2p=p2p,
        p2p_count=p2p_count,
        open=not done,
        gave_up=retired and not done,
        sizes=(value.get("input_sizes"), value.get("output_sizes")),
        dtypes=(value.get("input_dtypes"), value.get("output_dtypes")),
        created=_time(value.get("time_created_ns")),
        started=state == "started" or _time(value.get("time_discovered_started_ns")) is not None,
        finished=finished,
        timeout_ms=_int(value.get("timeout_ms"), 0) or None,
    )
    return entry, prefix


@lru_cache(maxsize=4096)
def _call(name: str) -> tuple[str, str, str]:
    """Return backend, native name and word of a profiling name such as `nccl:all_reduce`."""
    prefix, _, native = name.rpartition(":")
    return prefix, native, canonical(native)


def _coalesce(entries: list[Entry]) -> tuple[list[Entry], set[str]]:
    """Join the parts of coalesced calls with the entry that ends the call, the only one whose state is kept up.

    Where only unfinished entries were dumped, a finished call leaves its parts behind: several of one number, without
    the entry that ends them. Those are finished.

    Returns:
        The entries without such parts, and the groups seen to coalesce their transfers.
    """
    calls: dict[tuple[str, str, bool, int], list[Entry]] = {}
    for entry in entries:
        calls.setdefault((entry.group, entry.desc, entry.p2p, entry.seq), []).append(entry)
    inside: set[int] = set()
    batching: set[str] = set()
    for (group, desc, p2p, _), parts in calls.items():
        *before, last = parts
        ended = last.coalesced
        if ended:
            last.parts = before
            inside.update(id(part) for part in before)
        elif before:
            for part in parts:
                part.open = part.gave_up
        if p2p and (ended or before):
            batching.add(desc or group)
    return [entry for entry in entries if id(entry) not in inside], batching


def _configs(value: object) -> Iterable[GroupConfig]:
    if not isinstance(value, dict):
        return
    for key, config in value.items():
        if not isinstance(config, dict):
            continue
        name = _text(config.get("name")) or _text(key)
        yield GroupConfig(name, _text(config.get("desc")), _ranks(config.get("ranks")))


def _ranks(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        return _listed(value)
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(dict.fromkeys(r for r in (_int(v, -1) for v in value) if r >= 0))


@lru_cache(maxsize=4096)
def _listed(text: str) -> tuple[int, ...]:
    """Return the ranks in a text such as `[0, 1, 2]`; the same texts come from every rank of a job."""
    return tuple(dict.fromkeys(int(number) for number in re.findall(r"\d{1,9}", text)))


def _statuses(value: object) -> Iterable[tuple[str, Status]]:
    if not isinstance(value, dict):
        return
    for key, status in value.items():
        if isinstance(status, dict):
            enqueued = _int(status.get("last_enqueued_collective"), -1)
            yield _text(key), Status(enqueued, _int(status.get("last_completed_collective"), -1))


def _int(value: object, missing: int) -> int:
    if type(value) is int:  # nearly all: millions in the dumps of a large job
        return value if -_INT64 <= value < _INT64 else missing
    if isinstance(value, str):
        try:
            value = int(value[:24])
        except ValueError:
            return missing
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and -_INT64 <= value < _INT64 else missing


def _time(value: object) -> int | None:
    if value is None:
        return None
    found = _int(value, 0)
    return found if found > 0 else None


def _flag(value: object) -> bool:
    if value is True or value is False:
        return value
    return value.lower() in {"true", "1"} if isinstance(value, str) else bool(value)


def _text(value: object) -> str:
    if type(value) is str:
        return value[:400]
    return str(value)[:400] if isinstance(value, (str, int, float)) else ""
