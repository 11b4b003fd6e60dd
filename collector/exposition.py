"""Prometheus' text format, as far as reading other exporters needs it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SAMPLES = 50_000
_SAMPLE = re.compile(
    r"([A-Za-z_:][\w:]{0,200})(?:\{(.{0,4000})\})?[ \t]+([^ \t]{1,40})(?:[ \t]+-?\d{1,20})?[ \t]*", re.ASCII
)
_LABEL = re.compile(r'([A-Za-z_]\w{0,100})="((?:[^"\\]|\\.){0,1000})"', re.ASCII)
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (name, labels, value) of each line that is a sample with a finite value; other lines are left out."""
    count = 0
    for line in text.split("\n"):
        found = _SAMPLE.fullmatch(line.strip()) if line[:1] != "#" else None
        if found is None:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        labels = {name: re.sub(r"\\.", _unescape, text) for name, text in _LABEL.findall(found[2] or "")}
        yield found[1], labels, value
        count += 1
        if count >= MAX_SAMPLES:
            return


def _unescape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], found[0])
