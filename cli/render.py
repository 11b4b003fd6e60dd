"""Tables, times and numbers for a terminal of 80 columns."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from offbeat.wording import ago, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

PIPE_COLUMNS = 10_000
"""Width where no terminal is; without it `offbeat jobs | grep` finds half a name."""
_COLOURS = {
    "critical": "bold red",
    "warning": "yellow",
    "info": "cyan",
    "open": "bold",
    "stalled": "bold red",
    "running": "green",
    "learning": "cyan",
}
_BARS = "▁▂▃▄▅▆▇█"


def console() -> Console:
    """Return the terminal; colours only where one is, and NO_COLOR is not set.

    For a pipe or a file a row is a line, however long, unless COLUMNS says otherwise.
    """
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_COLUMNS
    return Console(highlight=False, soft_wrap=False, width=width)


def print_json(schema: str, content: dict[str, Any]) -> None:
    """Print *content* for programs; *schema* is name and version of its shape."""
    sys.stdout.write(json.dumps({"schema": schema, **content}, indent=2, ensure_ascii=False) + "\n")


def table(heads: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    """Return a table without lines.

    A head that ends in `>` is a column of numbers; one that ends in `~` may take several lines where space is short.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for head in heads:
        right, folds = head.endswith(">"), head.endswith("~")
        made.add_column(head.rstrip(">~"), justify="right" if right else "left", no_wrap=not folds, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return a list of names and values, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return made


def word(text: str) -> Text:
    """Return a state or severity in its colour."""
    return Text(text, style=_COLOURS.get(text, ""))


def plain(text: str) -> Text:
    """Return *text* from elsewhere, so that its brackets are no markup and its control characters nothing."""
    return Text("".join(c if c.isprintable() else "�" for c in text))


def since(ns: int | None, now: int | None = None) -> str:
    """Return how long ago the time *ns* (Unix ns) was."""
    if ns is None:
        return "-"
    return ago(((time.time_ns() if now is None else now) - ns) / 1e9)


def seconds(value: float | None) -> str:
    """Return a length of time in s, or a dash."""
    return "-" if value is None else duration(value)


def spark(values: Sequence[float], width: int = 24) -> str:
    """Return the newest *width* values as bars from zero to the highest."""
    values = values[-width:]
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in values)
