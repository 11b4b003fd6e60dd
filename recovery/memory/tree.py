"""Pytrees: nested dicts, lists and tuples taken apart into arrays and a skeleton of plain JSON, and put together again.

Nothing is ever pickled: what a peer or a file says can only become numbers, text and arrays.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.recovery.memory.arrays import is_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Path = tuple[str | int, ...]
DEPTH = 64
"""Deepest nesting; a tree that holds itself would recurse without end."""


class TreeError(ValueError):
    """A tree holds what cannot be kept, or a skeleton is none; the message names the place."""


def flatten(tree: Any, first: int = 0) -> tuple[list[tuple[Path, Any]], Any]:
    """Take *tree* apart.

    Args:
        tree: Nested dicts, lists and tuples of arrays and plain values.
        first: Number of the first array, where others come before.

    Returns:
        Its arrays, each with the keys that lead to it, and the skeleton: JSON with the arrays' places and all else.

    Raises:
        TreeError: A leaf is neither array, number, text, bytes, bool nor None, or a key neither text nor int.
    """
    arrays: list[tuple[Path, Any]] = []
    return arrays, _take(tree, (), arrays, first)


def _take(node: Any, path: Path, arrays: list[tuple[Path, Any]], first: int) -> Any:
    if len(path) > DEPTH:
        raise TreeError(f"{name(path[:4])}…: nested deeper than {DEPTH}")
    if is_array(node) or isinstance(node, np.generic):
        arrays.append((path, np.asarray(node) if isinstance(node, np.generic) else node))
        return {"s" if isinstance(node, np.generic) else "a": first + len(arrays) - 1}
    if node is None or isinstance(node, (bool, str)):
        return {"v": node}
    if isinstance(node, (int, float)):
        return {"v": node}
    if isinstance(node, (bytes, bytearray)):
        return {"b": base64.b64encode(node).decode()}
    if isinstance(node, dict):
        for key in node:
            if type(key) not in {str, int}:
                raise TreeError(f"{name(path)}: the key {key!r} is neither text nor int")
        return {"d": [[key, _take(child, (*path, key), arrays, first)] for key, child in node.items()]}
    if isinstance(node, (list, tuple)):
        kind = "l" if isinstance(node, list) else "t"
        return {kind: [_take(child, (*path, index), arrays, first) for index, child in enumerate(node)]}
    raise TreeError(f"{name(path)}: a {type(node).__name__} cannot be kept; give its state_dict(), numbers or arrays")


def unflatten(skeleton: Any, arrays: list[Any]) -> Any:
    """Put a tree together from its *skeleton* and its *arrays*.

    Raises:
        TreeError: It is no skeleton of as many arrays.
    """
    try:
        return _build(skeleton, arrays, 0)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise TreeError(f"not the skeleton of a tree: {type(error).__name__}: {error}") from error


def _build(node: Any, arrays: list[Any], depth: int) -> Any:
    if depth > DEPTH:
        raise TreeError(f"nested deeper than {DEPTH}")
    ((kind, content),) = node.items()
    if kind in _LEAVES:
        return _LEAVES[kind](content, arrays)
    if kind == "d":
        return {key: _build(child, arrays, depth + 1) for key, child in content}
    return _SEQUENCES[kind](_build(child, arrays, depth + 1) for child in content)


_LEAVES: dict[str, Callable[[Any, list[Any]], Any]] = {
    "v": lambda content, _: content,
    "a": lambda content, arrays: arrays[content],
    "s": lambda content, arrays: arrays[content][()],
    "b": lambda content, _: base64.b64decode(content, validate=True),
}
_SEQUENCES: dict[str, Callable[[Iterator[Any]], Any]] = {"l": list, "t": tuple}


def name(path: Path) -> str:
    """Return the keys of a leaf as people write them: `optimizer/state/0/exp_avg`."""
    return "/".join(map(str, path)) or "(the whole)"
