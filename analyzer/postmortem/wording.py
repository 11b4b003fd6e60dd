"""Numbers and times as a person reads them in a finding."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 12
"""Stretches of ranks spelled out in a sentence; the data beside it holds them all."""


def ranks(numbers: Iterable[int]) -> str:
    """Return `rank 3`, `ranks 0-2, 5` or, where these are many, their beginning and how many more."""
    known = sorted(set(numbers))
    stretches: list[list[int]] = []
    for rank in known:
        if stretches and stretches[-1][1] == rank - 1:
            stretches[-1][1] = rank
        else:
            stretches.append([rank, rank])
    shown = stretches[:MOST]
    text = ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in shown)
    if left := sum(b - a + 1 for a, b in stretches[MOST:]):
        text += f" and {left} more"
    return f"rank {text}" if len(known) == 1 else f"ranks {text}"


def count(number: int, thing: str) -> str:
    """Return `1 rank`, `2 ranks`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def clock(at: int | None) -> str:
    """Return a time of day, UTC, to the millisecond; `an unknown time` for None."""
    if not at or not 0 < at < 1 << 62:
        return "an unknown time"
    moment = datetime.fromtimestamp(at // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at % 1_000_000_000 // 1_000_000:03d} UTC"


def seconds(ns: float) -> str:
    """Return a length of time, in the unit that suits it."""
    if ns < 1e6:
        return f"{ns / 1e3:.0f} us"
    return f"{ns / 1e6:.1f} ms" if ns < 1e9 else f"{ns / 1e9:.1f} s"
