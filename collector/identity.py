"""Which job and rank a process is, by the variables its launcher gave it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offbeat.collector.recorders.identity import sanitise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_BYTES = 1 << 18
"""Most of a process's variables that is read."""
_RANK = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_WORLD = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_LOCAL = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
_RESTARTS = ("OFFBEAT_ATTEMPT", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True, slots=True)
class Identity:
    """A rank, as its launcher calls it; -1 for what it does not say."""

    job: str
    attempt: int
    rank: int
    world: int
    local_rank: int


def variables(pid: int, proc: Path) -> dict[str, str]:
    """Return the variables that a process was started with.

    Raises:
        OSError: It is gone, somebody else's, or still becoming its program and has none yet.
    """
    descriptor = os.open(proc / str(pid) / "environ", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < MAX_BYTES and (chunk := os.read(descriptor, MAX_BYTES - len(data))):
            data += chunk
    finally:
        os.close(descriptor)
    if not data:
        raise ProcessLookupError(f"process {pid} has no variables")
    pairs = (part.partition(b"=") for part in data.split(b"\0"))
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, mark, value in pairs if mark}


def identity(environment: Mapping[str, str]) -> Identity | None:
    """Return who a process with these variables is, None if it is no rank of a job."""
    rank = _first(environment, _RANK)
    if rank < 0:
        return None
    return Identity(
        job=_job(environment),
        attempt=max(_first(environment, _RESTARTS), 0),
        rank=rank,
        world=_first(environment, _WORLD),
        local_rank=_first(environment, _LOCAL),
    )


def _job(environment: Mapping[str, str]) -> str:
    for name in ("OFFBEAT_JOB", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
        value = environment.get(name, "")
        if value and (name == "OFFBEAT_JOB" or value != "none"):  # torchrun's word for a run without a name
            return sanitise(value)
    address, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    return sanitise(f"torch-{address}-{port}" if address and port else "torch-job")


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> int:
    """Return the first of some variables that is a number, -1 without any."""
    for name in names:
        text = environment.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
    return -1
