"""What the members of one collective must agree on: operation, sizes, element type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from offbeat.analyzer.readers.dumps import Entry

SYNCHRONISING = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "barrier"})
"""Collectives that no member can finish before all have entered. In a broadcast or reduce the root or a leaf may."""
_EVEN = ("_base", "_into_tensor", "_tensor", "_single", "_into_tensor_coalesced", "_tensor_coalesced")
"""Native names of gathers and scatters whose shares are equal by definition; others may be uneven."""


def disagreement(entries: Mapping[int, Entry], size: int) -> tuple[str, dict[object, list[int]]] | None:
    """Find on what the members of one collective disagree.

    Args:
        entries: Global rank → what it entered.
        size: Members of the communicator.

    Returns:
        What differs (`operation`, `size` or `element type`) and the ranks by what they entered; None if all agree.
    """
    first = next(iter(entries.values()))
    if all(_same(first, entry) for entry in entries.values()):
        return None
    checks: tuple[tuple[str, Callable[[Entry], object]], ...] = (
        ("operation", _operation),
        ("size", lambda entry: _sizes(entry, size)),
        ("element type", _types),
    )
    for what, key in checks:
        groups: dict[object, list[int]] = {}
        for rank, entry in sorted(entries.items()):
            groups.setdefault(key(entry), []).append(rank)
        groups.pop(None, None)  # what one dump does not say contradicts nobody
        if len(groups) > 1:
            return what, groups
    return None


def signature(entry: Entry) -> tuple[object, ...]:
    """Return what makes one call of a sequence recognisable from another on the same rank."""
    return _operation(entry), _types(entry), _elements(entry) if entry.op not in {"all_to_all", "other"} else None


def describe(entry: Entry) -> str:
    """Return a call in a few words: `all_reduce of 1000 Float`."""
    parts = entry.parts or [entry]
    elements = sum(sum(part.numels[0]) for part in parts)
    types = "/".join(parts[0].types[0]) or ""
    calls = f"{len(entry.parts)} coalesced " if entry.parts else ""
    name = parts[0].op if parts[0].op != "other" else parts[0].native
    return f"{calls}{name} of {elements} {types}".rstrip() if elements else f"{calls}{name}"


def synchronising(entry: Entry) -> bool:
    """Whether no member can have finished *entry* before all entered it."""
    return all(part.op in SYNCHRONISING for part in entry.parts or [entry])


def _same(a: Entry, b: Entry) -> bool:
    """Whether two calls are alike to the letter, which most are."""
    if a.native != b.native or a.sizes != b.sizes or a.dtypes != b.dtypes or len(a.parts) != len(b.parts):
        return False
    return all(_same(x, y) for x, y in zip(a.parts, b.parts, strict=True))


def _operation(entry: Entry) -> object:
    if not entry.parts:
        return entry.native if entry.op == "other" else entry.op
    return tuple(_operation(part) for part in entry.parts)


def _types(entry: Entry) -> object:
    if entry.parts:
        return tuple(_types(part) for part in entry.parts)
    return None if entry.op in {"gather", "scatter"} else entry.types[0] or None


def _elements(entry: Entry) -> object:
    return tuple(_elements(part) for part in entry.parts) if entry.parts else entry.numels


def _sizes(entry: Entry, size: int) -> object:
    if entry.parts:
        return tuple(_sizes(part, size) for part in entry.parts)
    inputs, outputs = entry.numels
    even = entry.native.lower().endswith(_EVEN)
    match entry.op:
        case "all_reduce" | "broadcast" | "reduce" | "gather":
            return inputs or None
        case "scatter":
            return outputs or None
        case "all_gather" if even and sum(outputs) == size * sum(inputs):
            return inputs
        case "reduce_scatter" if even and sum(inputs) == size * sum(outputs):
            return outputs
        case _:
            return None
