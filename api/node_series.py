"""Gauges and events of one host as series on one axis of time: thinned, with their extremes kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pyarrow as pa

SECOND = 1_000_000_000
COUNTERS = ("_total", "_seconds", "_faults")
"""Ends of counters' names: they are told as growth a second, not as the number since the machine started."""
COUNTED = frozenset(f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")) | {
    "disk_read_bytes",
    "disk_written_bytes",
}
"""Counters that the kernel calls otherwise."""
_NAMES = ("device_kind", "device_id", "metric")


def series(data: pa.Table, points: int, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return the gauges in *data* by device and metric.

    Args:
        data: Rows of the table `gauges`, of one host.
        points: Points of a series at most; of each stretch the lowest and the highest are kept.
        most: Series at most.

    Returns:
        Series in the order of device kind, metric and device, and how many were left out.
    """
    if data.num_rows == 0:
        return [], 0
    keys = list(zip(*(data.column(name).to_pylist() for name in _NAMES), strict=True))
    names = sorted(set(keys), key=lambda key: (key[0] or "", key[2], _number(key[1] or "")))
    place = {key: n for n, key in enumerate(names)}
    which = np.fromiter((place[key] for key in keys), np.int64, len(keys))
    at, value = data.column("at").to_numpy(), data.column("value").to_numpy()
    order = np.lexsort((at, which))
    which, at, value = which[order], at[order], value[order]
    bounds = np.searchsorted(which, np.arange(len(names) + 1))
    found = []
    for (kind, id_, metric), begin, end in zip(names[:most], bounds, bounds[1:], strict=False):
        times, values = at[begin:end], value[begin:end]
        counter = metric.endswith(COUNTERS) or metric in COUNTED
        if counter:
            times, values = growth(times, values)
        times, values = thin(times, values, points)
        found.append(
            {
                "device_kind": kind,
                "device_id": id_,
                "metric": metric,
                "per_second": counter,
                "at": times.tolist(),
                "value": [None if np.isnan(each) else float(each) for each in values],
            }
        )
    return found, max(0, len(names) - most)


def growth(
    at: npt.NDArray[np.int64], value: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return a counter's growth a second between samples; one that began anew grew by what it counted since."""
    if len(at) < 2:
        return at[:0], value[:0]
    step = np.diff(value)
    step = np.where(step < 0, value[1:], step)
    return at[1:], step / np.maximum(np.diff(at) / SECOND, 1e-9)


def thin(
    at: npt.NDArray[np.int64], value: npt.NDArray[np.float64], points: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return at most *points* samples: of each stretch of them the lowest and the highest, in order of time."""
    if len(at) <= points:
        return at, value
    stretch = -(-len(at) // (points // 2))
    keep = sorted(set(_extremes(value, stretch)))
    return at[keep], value[keep]


def _extremes(value: npt.NDArray[np.float64], stretch: int) -> Iterator[int]:
    for begin in range(0, len(value), stretch):
        part = np.nan_to_num(value[begin : begin + stretch])
        yield begin + int(part.argmin())
        yield begin + int(part.argmax())


def events(data: pa.Table, most: int) -> list[dict[str, Any]]:
    """Return the newest *most* events in *data*, rows of the table `events` of one host, oldest first."""
    columns = ["at", "rank", "device_kind", "device_id", "kind", "code", "message"]
    rows = sorted(data.select(columns).to_pylist(), key=lambda row: row["at"])
    return rows[-most:] if most else []


def _number(text: str) -> tuple[int, str]:
    # Device 10 comes after device 9.
    return (int(text), "") if text.isascii() and text.isdecimal() else (1 << 62, text)
