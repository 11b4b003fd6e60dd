"""How the ranks of this host were launched: their variables, read once each, and the limits of their cgroups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offbeat.collector import procfs
from offbeat.collector.identity import identity, variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from offbeat.collector.source import LocalRank, Ranks

MAX_RANKS = 1024
_PATH = re.compile(r"[\w./:@\\-]{1,2000}", re.ASCII)
_WORD = re.compile(r"(\w+) (\d{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Launch:
    """One rank and the variables it was started with."""

    rank: LocalRank
    environment: Mapping[str, str]
    world: int
    """-1 where its launcher did not say."""
    gpu: int | None
    """Index of its device, where its variables tell."""


class Launches:
    """The launches of the ranks alive here; each process is read until its variables are there."""

    def __init__(self, ranks: Ranks, proc: Path) -> None:
        """Look at *ranks* below *proc*."""
        self._ranks = ranks
        self._proc = proc
        self._known: dict[LocalRank, Launch | None] = {}

    def read(self) -> list[Launch]:
        """Return the launches of all ranks whose variables can be read."""
        alive = [rank for rank in self._ranks() if rank.readable and rank.job][:MAX_RANKS]
        self._known = {rank: self._known.get(rank) or self._look(rank) for rank in alive}
        return [launch for launch in self._known.values() if launch is not None]

    def _look(self, rank: LocalRank) -> Launch | None:
        try:
            environment = variables(rank.pid, self._proc)
        except OSError:
            return None
        said = identity(environment)
        agreed = said is not None and said.rank == rank.rank
        return Launch(
            rank,
            environment,
            said.world if said is not None and agreed else -1,
            visible_gpu(environment, said.local_rank if said is not None and agreed else -1),
        )


def visible_gpu(environment: Mapping[str, str], local_rank: int) -> int | None:
    """Return the index of the GPU that a rank uses by custom: the one of its place among those it may see."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    place = 0 if len(visible) == 1 else local_rank
    text = visible[place].strip() if 0 <= place < len(visible) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


def job_rows(launch: Launch, name: str, host: str) -> dict[str, dict[str, Any]]:
    """Return the rows of `jobs` and `ranks` that a launch tells, by table."""
    rank = launch.rank
    own = {"job": rank.job, "attempt": rank.attempt}
    rows: dict[str, dict[str, Any]] = {}
    if launch.world > 0 and name:
        rows["jobs"] = own | {"name": name[:200], "simulated": False, "world": launch.world}
    if launch.gpu is not None:
        rows["ranks"] = own | {"rank": rank.rank, "host": host, "pid": rank.pid, "gpu": launch.gpu}
    return rows


def cgroup_path(pid: int, proc: Path) -> str:
    """Return the place of a process in the unified hierarchy of cgroups, empty where it has none."""
    try:
        lines = procfs.read(proc / str(pid) / "cgroup").decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    path = next((line[3:] for line in lines if line.startswith("0::/")), "")
    return path if _PATH.fullmatch(path) and ".." not in path else ""


def cgroup_values(path: str, root: Path) -> dict[str, float]:
    """Return what the cgroup at *path* below *root* has used up and been denied."""
    folder = root / path.lstrip("/")
    values: dict[str, float] = {}
    for metric, file, word, unit in (
        ("cgroup_cpu_throttled_seconds", "cpu.stat", "throttled_usec", 1e-6),
        ("cgroup_oom_kills_total", "memory.events", "oom_kill", 1.0),
    ):
        found = dict(_WORD.findall(_text(folder / file))).get(word)
        if found is not None:
            values[metric] = int(found) * unit
    for metric, file in (("cgroup_memory_bytes", "memory.current"), ("cgroup_memory_limit_bytes", "memory.max")):
        text = _text(folder / file).strip()
        if text.isascii() and text.isdigit() and len(text) < 20:
            values[metric] = float(text)
    return values


def _text(path: Path) -> str:
    try:
        return procfs.read(path).decode("ascii", "replace")
    except OSError:
        return ""
