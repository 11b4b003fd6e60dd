"""The figures behind a piece of evidence as bars: what can be compared is drawn, the rest is text.

The dashboard draws the same bars (`dashboards/web/js/figures.js`); tests hold both to one list of cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offbeat.wording import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPARED = frozenset(
    "after age before bound limit max median normal now others peers typical usual".split()  # noqa: SIM905 - reads as a list
)
"""Names of figures that stand beside one another; others are no quantity (a rank, a number of calls)."""
SHARES = frozenset({"share", "busy"})
"""Names of figures between 0 and 1, which are drawn against 1."""
MOST = 6
"""Bars of one piece of evidence; of more, the largest."""

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "seconds": 1.0}


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure: its name, its length from 0 to 1, and the figure in words."""

    name: str
    length: float
    text: str


def bars(data: Mapping[str, Any]) -> list[Bar]:
    """Return what of the *data* of one piece of evidence can be compared, nothing where nothing can."""
    compared = _compared(data)
    if compared:
        return compared
    shares = [Bar(name, value, _percent(value)) for name, value in data.items() if name in SHARES and _is_share(value)]
    if shares:
        return shares
    return next((_of_names(value) for value in data.values() if isinstance(value, dict) and _countable(value)), [])


def _compared(data: Mapping[str, Any]) -> list[Bar]:
    groups: dict[str, list[tuple[str, float]]] = {}
    for key, value in data.items():
        name, unit = _split(key)
        if name in SHARES and "others" in data:
            name, unit = "this", ""
        if (name in COMPARED or name == "this") and _is_number(value) and value >= 0:
            groups.setdefault(unit, []).append((name, float(value)))
    unit, group = max(groups.items(), key=lambda item: len(item[1]), default=("", []))
    top = max((value for _, value in group), default=0.0)
    if len(group) < 2 or top <= 0:
        return []
    shares = any(name == "this" for name, _ in group)
    return [Bar(name, value / top, _percent(value) if shares else _text(value, unit)) for name, value in group]


def _of_names(values: Mapping[str, float]) -> list[Bar]:
    top = max(values.values())
    shares = top <= 1
    largest = sorted(values.items(), key=lambda item: -item[1])[:MOST]
    return [
        Bar(name, value if shares else value / top, _percent(value) if shares else _text(value, ""))
        for name, value in largest
    ]


def _split(key: str) -> tuple[str, str]:
    name, _, unit = key.rpartition("_")
    return (name, unit) if unit in _SECONDS else (key, "")


def _text(value: float, unit: str) -> str:
    return duration(value * _SECONDS[unit]) if unit else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _countable(value: Mapping[str, Any]) -> bool:
    return len(value) > 1 and all(_is_number(each) and each >= 0 for each in value.values()) and max(value.values()) > 0
