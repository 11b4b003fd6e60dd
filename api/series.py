"""Ranks by time matrices on the way out: thinned without hiding a peak, in the form the client asked for."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    Times = npt.NDArray[np.int64]
    Ranks = npt.NDArray[np.int32]
    Values = npt.NDArray[np.float32]

OCTETS = "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"


def choose(accept: str) -> str:
    """Return which of the three forms *accept* (an Accept header) wants most; JSON when it does not say."""
    weighed = []
    for position, item in enumerate(accept.split(",")):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        weighed.append((-weight, position, name))
    return next((name for _, _, name in sorted(weighed) if name in {OCTETS, ARROW, JSON}), JSON)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def thin(times: Times, values: Values, most: int) -> tuple[Times, Values]:
    """Merge neighbouring windows until at most *most* are left.

    The largest value of a rank survives, because a mean would hide the one bad second that people look for.

    Args:
        times: Ends of windows, ns, i64[t].
        values: f32[t, r], NaN where there is no data.
        most: Number of windows to keep, at least 1.
    """
    if len(times) <= most:
        return times, values
    step = -(-len(times) // most)
    starts = np.arange(0, len(times), step)
    ends = np.minimum(starts + step, len(times)) - 1
    return times[ends], np.fmax.reduceat(values, starts, axis=0)


def octets(times: Times, ranks: Ranks, values: Values) -> bytes:
    """Return u32 n_times, u32 n_ranks, i64 times[], i32 ranks[], f32 values[] (row-major), little endian."""
    head = np.array([len(times), len(ranks)], "<u4")
    return b"".join(
        (head.tobytes(), times.astype("<i8").tobytes(), ranks.astype("<i4").tobytes(), values.astype("<f4").tobytes())
    )


def arrow(times: Times, ranks: Ranks, values: Values) -> bytes:
    """Return an Arrow stream: `at`, and one list of values a row; the ranks are JSON in the schema's metadata."""
    rows = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), max(len(ranks), 1))
    columns = [pa.array(times, pa.int64()), rows if len(ranks) else pa.nulls(len(times), pa.list_(pa.float32()))]
    table = pa.table(columns, names=["at", "lateness_ms"]).replace_schema_metadata(
        {"ranks": json.dumps(ranks.tolist()), "unit": "ms"}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def plain(times: Times, ranks: Ranks, values: Values) -> dict[str, Any]:
    """Return the JSON form; NaN becomes null."""
    rows = [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
    return {"times": times.tolist(), "ranks": ranks.tolist(), "lateness_ms": rows}
