"""Findings and times in words, the same in terminal, alerts and demo."""

from __future__ import annotations

from typing import Any

NAMED_AT_MOST = 8
"""Ranks, hosts or links named one by one; a thousand of them help nobody."""


def culprits(finding: dict[str, Any]) -> str:
    """Return who is to blame in *finding* (its JSON form), in a few words."""
    named = finding["culprits"]
    parts = []
    if named["ranks"]:
        parts.append(("rank " if len(named["ranks"]) == 1 else "ranks ") + _several(named["ranks"]))
    if named["hosts"]:
        parts.append(("host " if len(named["hosts"]) == 1 else "hosts ") + _several(named["hosts"]))
    parts += [f"{_end(link, 'src')} → {_end(link, 'dst')}" for link in named["links"][:NAMED_AT_MOST]]
    parts += [f"{device['kind']} {device['id']} on {device['host']}" for device in named["devices"][:NAMED_AT_MOST]]
    return ", ".join(parts) or "nobody named"


def _end(link: dict[str, Any], side: str) -> str:
    rank, host = link[f"{side}_rank"], link[f"{side}_host"]
    if rank is None:
        return host or "?"
    return f"rank {rank} ({host})" if host else f"rank {rank}"


def _several(values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:NAMED_AT_MOST])
    return f"{shown} and {len(values) - NAMED_AT_MOST} more" if len(values) > NAMED_AT_MOST else shown


def ago(seconds: float) -> str:
    """Return how long ago something was, in one unit: `4 s ago`."""
    if seconds < 1:
        return "now"
    return f"{seconds:.0f} s ago" if seconds < 10 else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Return a length of time in the one unit that suits it: `85 ms`, `4 s`, `3 min`, `5 h`, `2 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.3g} s"
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
