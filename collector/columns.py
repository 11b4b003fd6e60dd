"""Making Arrow columns out of few words and many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEW_ROWS = 2000
"""Below this, a Python list costs less than a call of Arrow's `take`, and most batches of a node are small."""


def look_up(words: Sequence[str | None], index: NDArray[Any]) -> pa.Array:
    """Return the strings ``words[i]`` for each i of *index*."""
    if len(index) and (index == index[0]).all():
        return pa.repeat(pa.scalar(words[index[0]], pa.string()), len(index))
    if len(index) < FEW_ROWS:
        return pa.array([words[i] for i in index.tolist()], pa.string())
    return pa.array(words, pa.string()).take(index)
