"""Ranks that Slurm started: the job's name, each rank's GPU, and what its cgroup denied it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.collector.launched import Launched

if TYPE_CHECKING:
    from offbeat.collector.launches import Launch


class SlurmSource(Launched):
    """Rows of `jobs` and `ranks`; gauges of device kind `process`."""

    name = "slurm"
    sampled = True

    def name_of(self, launch: Launch) -> str | None:
        """Return the job's name with its number, None for a rank that is not Slurm's."""
        number = launch.environment.get("SLURM_JOB_ID")
        if not number:
            return None
        name = launch.environment.get("SLURM_JOB_NAME", "")
        return f"{name} ({number})" if name else number
