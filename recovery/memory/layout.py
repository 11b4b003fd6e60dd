"""The layout of one rank's state: a pytree of arrays as one contiguous image, which describes itself.

    head     u64 length, then JSON: entries, and the skeleton of the tree with everything that is no array
    arrays   each at a multiple of `ALIGN`, in the order of the tree

Names, types, shapes and places do not change from step to step; the head is written anew each time, for numbers such as
learning rates live in its skeleton. A reader needs nothing but the image, on whatever host it comes to lie.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from offbeat.recovery.memory import arrays as ar
from offbeat.recovery.memory import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

ALIGN = 64
"""Bytes; a cache line, and a multiple of every element's size, so that any array can be viewed in place."""
PAGE = 4096
HEAD_SPARE = 16 << 10
"""Bytes the skeleton may grow by; a snapshot whose numbers and texts need more is skipped, with this reason."""
MAX_HEAD = 256 << 20
"""Bytes; no honest head is longer, and a damaged one must not make a reader allocate without end."""
_LENGTH = struct.Struct("<Q")


class LayoutError(ValueError):
    """An image is damaged, or does not fit; the message names the entry."""


class Entry(NamedTuple):
    """One array: the keys that lead to it, what it is, and where it lies (bytes from the start of the image)."""

    path: tree.Path
    dtype: str
    shape: tuple[int, ...]
    sharding: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies in an image of `nbytes`; the arrays begin at `head_bytes`."""

    entries: tuple[Entry, ...]
    head_bytes: int
    nbytes: int
    opening: bytes = field(repr=False, compare=False)
    """The part of the head that never changes; it is long, and a head is written at every step."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of names, types, shapes, sharding and places: equal where an image can be read as another one was."""
        return hashlib.sha256(self.opening).digest()

    def fits(self, found: Sequence[tuple[tree.Path, Any]], first: int = 0) -> bool:
        """Tell whether the entries from number *first* on are those of the arrays *found*."""
        part = self.entries[first : first + len(found)]
        return len(part) == len(found) and all(
            (entry.path, entry.dtype, entry.shape, entry.sharding) == (path, form.dtype, form.shape, form.sharding)
            for entry, (path, form) in zip(part, ((path, ar.form(value)) for path, value in found), strict=True)
        )

    def views(self, image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return the bytes of each entry in *image*, without a copy."""
        return [image[entry.offset : entry.offset + entry.nbytes] for entry in self.entries]

    def write_head(self, image: NDArray[np.uint8], skeleton: bytes) -> None:
        """Write the head of an image.

        Args:
            image: Where to.
            skeleton: Of its tree, as `text_of` writes it.

        Raises:
            LayoutError: The skeleton has outgrown the head.
        """
        text = self.opening + skeleton + b"}"
        if _LENGTH.size + len(text) > self.head_bytes:
            raise LayoutError(
                f"numbers and texts of the state grew to {len(text)} bytes, the head has room for {self.head_bytes}"
            )
        _LENGTH.pack_into(image.data, 0, len(text))
        image.data[_LENGTH.size : _LENGTH.size + len(text)] = text

    def difference(self, other: Layout) -> str:
        """Return in words where *other* first differs from this layout; empty where both are the same."""
        ours, theirs = ({e.path: e for e in layout.entries} for layout in (self, other))
        for path, entry in ours.items():
            if path not in theirs:
                return f"{tree.name(path)} is missing"
            for what in ("dtype", "shape", "sharding"):
                mine, its = getattr(entry, what), getattr(theirs[path], what)
                if mine != its:
                    return f"{tree.name(path)}: {what} is {its}, not {mine}"
        extra = next((path for path in theirs if path not in ours), None)
        return "" if extra is None else f"{tree.name(extra)} is not known"


def plan(found: Sequence[tuple[tree.Path, Any]], skeleton: Any) -> Layout:
    """Lay out arrays.

    Args:
        found: Arrays and the keys that lead to them, as `tree.flatten` returns them.
        skeleton: The skeleton of their tree, for the length of the head.

    Raises:
        TypeError: An array's bytes are not its content; the message names it.
    """
    forms = []
    for path, array in found:
        try:
            forms.append((path, ar.form(array)))
        except TypeError as error:
            raise TypeError(f"{tree.name(path)}: {error}") from None
    # Offsets have at most 16 digits: the head's length is known before they are.
    widest = [Entry(path, f.dtype, f.shape, f.sharding, 10**16, f.nbytes) for path, f in forms]
    longest = len(_opening(10**16, widest)) + len(json.dumps(skeleton))
    head_bytes = _up(_LENGTH.size + longest + HEAD_SPARE, PAGE)
    entries, offset = [], head_bytes
    for path, f in forms:
        entries.append(Entry(path, f.dtype, f.shape, f.sharding, offset, f.nbytes))
        offset = _up(offset + f.nbytes, ALIGN)
    return Layout(tuple(entries), head_bytes, _up(offset, PAGE), _opening(head_bytes, entries))


def write(image: NDArray[np.uint8], state: Any) -> Layout:
    """Lay out the pytree *state* and write it into the first bytes of *image* at once.

    Raises:
        ValueError: The image is too small.
    """
    found, skeleton = tree.flatten(state)
    layout = plan(found, skeleton)
    if layout.nbytes > image.nbytes:
        raise ValueError(f"the state takes {layout.nbytes} bytes, the image has {image.nbytes}")
    layout.write_head(image, text_of(skeleton))
    for (_, array), target in zip(found, layout.views(image), strict=True):
        ar.read_into(array, target)
    return layout


def text_of(skeleton: Any) -> bytes:
    """Return a skeleton as it stands in a head."""
    return json.dumps(skeleton, separators=(",", ":")).encode()


def parse(image: NDArray[np.uint8]) -> tuple[Layout, Any]:
    """Read the head of *image*.

    Returns:
        Its layout, and the skeleton of its tree.

    Raises:
        LayoutError: It is no image, or a damaged one.
    """
    if image.nbytes < _LENGTH.size:
        raise LayoutError(f"{image.nbytes} bytes are no image")
    (length,) = _LENGTH.unpack_from(image.data)
    if not 0 < length <= min(MAX_HEAD, image.nbytes - _LENGTH.size):
        raise LayoutError(f"a head of {length} bytes in an image of {image.nbytes}")
    try:
        head = json.loads(bytes(image[_LENGTH.size : _LENGTH.size + length]))
        entries = tuple(_entry(item) for item in head["entries"])
        head_bytes, skeleton = int(head["head_bytes"]), head["tree"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LayoutError(f"the head cannot be read: {type(error).__name__}: {error}") from None
    end = head_bytes
    for entry in entries:
        if entry.offset < end or entry.offset % ALIGN or entry.nbytes < 0 or entry.offset + entry.nbytes > image.nbytes:
            raise LayoutError(f"{tree.name(entry.path)} does not lie within the image")
        end = entry.offset + entry.nbytes
    return Layout(entries, head_bytes, _up(_up(end, ALIGN), PAGE), _opening(head_bytes, entries)), skeleton


def load(image: NDArray[np.uint8]) -> Any:
    """Return the pytree that *image* holds; its arrays share the image's memory.

    Raises:
        LayoutError: It is no image, or a damaged one.
    """
    layout, skeleton = parse(image)
    found = []
    for entry, content in zip(layout.entries, layout.views(image), strict=True):
        try:
            found.append(ar.view(entry.dtype, entry.shape, content))
        except (ValueError, RuntimeError) as error:
            raise LayoutError(f"{tree.name(entry.path)}: {error}") from None
    try:
        return tree.unflatten(skeleton, found)
    except tree.TreeError as error:
        raise LayoutError(str(error)) from None


def _opening(head_bytes: int, entries: Sequence[Entry]) -> bytes:
    text = json.dumps({"head_bytes": head_bytes, "entries": entries}, separators=(",", ":"))
    return text[:-1].encode() + b',"tree":'


def _entry(item: Any) -> Entry:
    path, dtype, shape, sharding, offset, nbytes = item
    if not isinstance(dtype, str) or not isinstance(sharding, str):
        raise TypeError("type and sharding are texts")
    return Entry(tuple(path), dtype, tuple(int(n) for n in shape), sharding, int(offset), int(nbytes))


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
