"""What travels on a bus between processes: words, never code. Unknown kinds are refused, nothing is unpickled."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from offbeat import wire
from offbeat.model import Finding, IncidentState
from offbeat.store.errors import StoreError
from offbeat.store.plain import plain
from offbeat.store.rows import Incident, JobRank, JobRow

if TYPE_CHECKING:
    from collections.abc import Mapping


class CodecError(StoreError):
    """A message that this version cannot read."""


def encode(payload: object) -> dict[bytes, bytes]:
    """Return the fields of a stream entry for *payload*.

    Telemetry (a dict with `tables`) travels in its wire form; `raw`, where it is given, is that form already.
    """
    if isinstance(payload, dict) and "tables" in payload:
        head = {name: value for name, value in payload.items() if name not in {"tables", "raw"}}
        return {b"k": b"telemetry", b"h": _text(head), b"b": payload.get("raw") or wire.encode(payload["tables"])}
    if isinstance(payload, JobRow):
        return {b"k": b"job", b"h": _text(asdict(payload))}
    if isinstance(payload, Incident):
        return {b"k": b"incident", b"h": _text(payload.to_dict())}
    if isinstance(payload, dict):
        return {b"k": b"json", b"h": _text(payload)}
    raise CodecError(f"a {type(payload).__name__} cannot travel on the bus")


def decode(entry: Mapping[bytes, bytes]) -> object:
    """Return the payload that *entry* was made of.

    Raises:
        CodecError: It is of no known kind, or malformed.
    """
    try:
        kind, head = entry[b"k"], json.loads(entry[b"h"])
        if kind == b"telemetry":
            raw = entry[b"b"]
            return {**head, "tables": wire.decode(raw)[0], "raw": raw}
        if kind == b"job":
            head["hosts"], head["ranks"] = tuple(head["hosts"]), tuple(JobRank(**rank) for rank in head["ranks"])
            return JobRow(**head)
        if kind == b"incident":
            return _incident(head)
        if kind == b"json":
            return dict(head)
    except (KeyError, TypeError, ValueError) as error:
        raise CodecError(f"malformed message: {error!r}") from None
    raise CodecError(f"unknown kind of message {kind[:40]!r}")


def _incident(head: dict[str, Any]) -> Incident:
    known = {field.name for field in fields(Incident)} - {"finding", "state"}
    finding = Finding.from_dict(head["finding"], job=head["job"], attempt=head["attempt"])
    values = {name: value for name, value in head.items() if name in known}
    return Incident(**values, state=IncidentState(head["state"]), finding=finding)


def _text(value: Any) -> bytes:
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode()
