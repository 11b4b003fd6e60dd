"""Which job, attempt and rank this process is."""

from __future__ import annotations

import os
import time
from typing import Any

from offbeat.jobname import job_name, sanitise

__all__ = ["agree_on_attempt", "job_name", "local_rank", "sanitise"]


def local_rank() -> int:
    """Return our rank on this host, -1 where the launcher does not say."""
    for name in ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"):
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return -1


def agree_on_attempt(store: Any, turn: int, previous: int) -> int:
    """Return the attempt's number, the same on all ranks: the first to come writes the time, the others read it.

    Args:
        store: The default process group's store.
        turn: How many process groups this process has made before.
        previous: Our last attempt; the next is later, however quickly it follows.
    """
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    proposal = str(max(int(time.time()), previous + 1))
    try:
        return int(store.compare_set(f"offbeat/attempt/{restart}/{turn}", "", proposal))
    except Exception:  # noqa: BLE001 - stores raise what they like, and an attempt of our own is better than none
        text = os.environ.get("OFFBEAT_ATTEMPT", "")
        return int(text) if text.isdigit() else 0
