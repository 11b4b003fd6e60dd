"""What rows of all reduced tables begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from offbeat.reducer.operations import Book

    Ints = np.ndarray[Any, np.dtype[np.int64]]


def with_stream(book: Book, stream: Ints) -> dict[str, Any]:
    """Return the columns that say whose a row is."""
    streams = [book.streams[number] for number in stream.tolist()]
    return {
        "job": strings([each.job for each in streams]),
        "attempt": pa.array([each.attempt for each in streams], pa.int32()),
        "comm": strings([each.comm for each in streams]),
        "rank": [each.rank for each in streams],
        "peer": pa.array([each.peer for each in streams], pa.int32()),
        "direction": strings([each.direction for each in streams]),
    }


def strings(words: Sequence[str | None]) -> pa.Array:
    """Return a column of *words*."""
    return pa.array(words, pa.string())
