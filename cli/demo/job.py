"""The training job: who runs where, its control files, and its own word about its speed."""

from __future__ import annotations

import re
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.cli.demo.processes import end, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.cli.demo.hosts import Host
    from offbeat.cli.demo.processes import Process, Processes

SCRIPT = Path(__file__).with_name("train.py")
_STEP = re.compile(rb"^step (\d+) .* at (\d+)$", re.MULTILINE)


class Job:
    """A data-parallel job with *per_host* ranks on each of *hosts*.

    Args:
        name: What the recorder calls the job.
        directory: For logs and control files.
        recorded: Whether the script runs under `offbeat.run`, which is what a user would type.
    """

    def __init__(
        self,
        name: str,
        hosts: Sequence[Host],
        per_host: int,
        directory: Path,
        processes: Processes,
        *,
        recorded: bool = True,
    ) -> None:
        self.name = name
        self.world = len(hosts) * per_host
        self.directory = directory
        self._host_of = [host for host in hosts for _ in range(per_host)]
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port() if hosts[0].namespace is None else 29500
        program = [sys.executable, *(["-m", "offbeat.run"] if recorded else []), str(SCRIPT)]
        self.ranks: list[Process] = []
        for rank, host in enumerate(self._host_of):
            env = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank % per_host),
                "WORLD_SIZE": str(self.world),
                "MASTER_ADDR": hosts[0].address,
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": host.interface,
                "OMP_NUM_THREADS": "1",
                "OFFBEAT_JOB": name,
                "OFFBEAT_RING_DIR": str(host.ring_dir),
            }
            argv = host.inside([*program, "--control", str(self.control(rank))])
            self.ranks.append(processes.start(argv, directory / f"rank-{rank}.log", env))

    def host(self, rank: int) -> Host:
        """Return the host that *rank* runs on."""
        return self._host_of[rank]

    def control(self, rank: int) -> Path:
        """Return the file that says by what factor *rank* computes slower."""
        return self.directory / f"rank-{rank}.factor"

    def throttle(self, rank: int, factor: float | None) -> None:
        """Make *rank* compute slower by *factor* from its next step on; None: as fast as before."""
        if factor is None:
            self.control(rank).unlink(missing_ok=True)
            return
        new = self.control(rank).with_suffix(".new")
        new.write_text(str(factor), encoding="ascii")
        new.replace(self.control(rank))

    def steps(self) -> list[tuple[int, float]]:
        """Return (step, when it ended on the monotonic clock in seconds), as rank 0 printed them."""
        output = self.ranks[0].log.read_bytes()
        return [(int(step), int(at) / 1e9) for step, at in _STEP.findall(output)]

    def step_seconds(self, since: float) -> float | None:
        """Return the median step time since *since* (monotonic seconds); None before two steps have ended."""
        ends = [at for _, at in self.steps() if at >= since]
        gaps = [later - earlier for earlier, later in pairwise(ends)]
        return statistics.median(gaps) if gaps else None

    def dead(self) -> list[int]:
        """Return the ranks whose processes have ended."""
        return [rank for rank, process in enumerate(self.ranks) if process.exit_code is not None]

    def stop(self) -> None:
        """End all ranks."""
        end(self.ranks)


def wait_for_steps(job: Job, n: int, seconds: float) -> bool:
    """Wait until *job* has made *n* steps; False when it has not within *seconds*, or a rank has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(job.steps()) >= n:
            return True
        if job.dead():
            return False
        time.sleep(0.2)
    return False
