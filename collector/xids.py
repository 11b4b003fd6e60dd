"""The catalogue of NVIDIA's XID numbers: what each means, and what helps.

Meanings follow docs.nvidia.com/deploy/xid-errors. The groups split what matters to a job: `application` and
`follow_up` say nothing against the GPU.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("xids.csv")


@dataclass(frozen=True, slots=True)
class Xid:
    """One number of the catalogue."""

    code: int
    group: str
    """application follow_up memory retirement link device power advice test other."""
    meaning: str
    action: str
    """What helps first: none, restart_application, reset_gpu, restart_machine, …"""


@functools.cache
def catalogue() -> dict[int, Xid]:
    """Return every number in use, by code."""
    with _FILE.open(newline="", encoding="ascii") as file:
        rows = csv.DictReader(file)
        return {int(row["code"]): Xid(int(row["code"]), row["group"], row["meaning"], row["action"]) for row in rows}


def describe(code: int) -> str:
    """Return the meaning and the advice of *code* in a few words, empty if it is not in use."""
    xid = catalogue().get(code)
    if xid is None:
        return ""
    advice = "" if xid.action == "none" else f"; advice: {xid.action.replace('_', ' ')}"
    return f"{xid.meaning}{advice}"
