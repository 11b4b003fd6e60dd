"""Eight hosts on one machine, by the scripts of a test bed, with Offbeat on them.

The bed (`--testbed`) is a folder of scripts: `bed_up.sh N` makes network namespaces `$BED_PREFIX-h0..` on a switch,
`run.sh OUT WORLD SECONDS ARGS…` starts a training job with one rank a host and writes `OUT/pids`, and
`inject.sh OUT on|off FAULT ARGS…` makes a fault and takes it back. They are used as a black box.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from offbeat.cli.demo.hosts import Host
from offbeat.cli.demo.processes import Processes
from offbeat.cli.demo.service import Service
from offbeat.cli.demo.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = 8
JOB_ARGUMENTS = ("--record", "off", "--dim", "128", "--bucket-mb", "0.3", "--compute-ms", "30")
START_SECONDS = 120.0
LEARN_SECONDS = 90.0
PREFIX = f"ob{os.getpid()}"
"""First part of the names of the bed's namespaces, so that other beds on the machine are left alone."""
FREEZER = Path("/sys/fs/cgroup/freezer")
_STEP_BYTES = 28


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


class Bed:
    """Hosts, one service, an agent on each host; jobs come and go."""

    def __init__(self, testbed: Path, root: Path) -> None:
        self.testbed, self.root = testbed.resolve(), root
        self._env = {"BED_PREFIX": PREFIX}
        self._processes = Processes()
        self._jobs = 0
        # The job's ranks run as a user would start them: python -m offbeat.run train.py … Each in a session of its own,
        # as the kernel shares the CPU out by session, and a rank stands for a host.
        self._python = root / "python"
        self._python.write_text(f'#!/bin/sh\nexec setsid {sys.executable} -m offbeat.run "$@"\n', encoding="ascii")
        self._python.chmod(0o755)

    def __enter__(self) -> Self:
        for name in [name for name in os.environ if name.startswith("OFFBEAT_")]:
            del os.environ[name]
        self._script("bed_up.sh", str(WORLD))
        try:
            rings = self.root / "rings"
            rings.mkdir()
            hosts = [
                Host(f"h{i}", f"198.18.0.{10 + i}", "eth0", rings, self._spool(i), f"{PREFIX}-h{i}")
                for i in range(WORLD)
            ]
            self.service = Service(hosts, self.root / "service", self._processes)
            self.service.wait()
            self.service.start_agents()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.__exit__()
        self._script("bed_up.sh", "down")

    def job(self, seconds: float) -> Job:
        """Return a new job that would end by itself after *seconds*."""
        self._jobs += 1
        name = f"bed-{self._jobs}"
        env = {
            "PY": str(self._python),
            "WAIT": "0",
            "OFFBEAT_JOB": name,
            "OFFBEAT_RING_DIR": str(self.root / "rings"),
        }
        out = self.root / name
        # A port of its own: the last job's may still be held by a rank that is dying.
        arguments = (*JOB_ARGUMENTS, "--port", str(29500 + self._jobs))
        self._script("run.sh", str(out), str(WORLD), f"{seconds:.0f}", *arguments, env=env)
        return Job(self, name, out)

    def inject(self, job: Job, on: bool, *fault: str) -> None:
        """Make *fault*, or take it back."""
        # To a file, not a pipe: what a fault leaves running would hold the pipe open.
        self._script("inject.sh", str(job.out), "on" if on else "off", *fault)

    def _spool(self, i: int) -> Path:
        path = self.root / f"spool-{i}"
        path.mkdir()
        return path

    def _script(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        log = self.root / f"{name}.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [str(self.testbed / name), *arguments],
                env={**os.environ, **self._env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise BenchError(f"{name} {' '.join(arguments)}: {log.read_text(errors='replace')[-500:]}")


class Job:
    """One training job on the bed, watched by the public API."""

    def __init__(self, bed: Bed, name: str, out: Path) -> None:
        self.name, self.out, self._bed = name, out, bed
        self.pids = [int(line) for line in (out / "pids").read_text(encoding="ascii").split()]
        self.watch = Watch(bed.service.url, bed.service.viewer_token, name)

    def learn(self) -> None:
        """Wait until the job makes steps and the service has learned its beat.

        Raises:
            BenchError: Either does not happen.
        """
        if not self.look(START_SECONDS, lambda: self.steps() > 20):
            raise BenchError(f"job {self.name} made no steps: {(self.out / 'log-0.txt').read_text()[-500:]}")
        if not self.look(LEARN_SECONDS, lambda: self.watch.state() == "running"):
            raise BenchError(f"the beat of {self.name} was not learned in {LEARN_SECONDS:g} s: {self.watch.state()!r}")

    def steps(self) -> int:
        """Return how many steps rank 0 has made."""
        with suppress(FileNotFoundError):
            return (self.out / "step-0.bin").stat().st_size // _STEP_BYTES
        return 0

    def alive(self) -> bool:
        """Whether all ranks run."""
        return all(_is(pid, "train.py") for pid in self.pids)

    def look(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Look at the job's incidents for *seconds*, or until *until* holds; return whether it did.

        Raises:
            ServiceError: The service or an agent has ended.
        """

        def holds() -> bool:
            self._bed.service.check()
            self.watch.look()
            return until()

        return _wait(seconds, holds)

    def healthy(self) -> bool:
        """Whether all runs and no incident is open."""
        return self.watch.state() == "running" and all(sighting.over for sighting in self.watch.look())

    def stop(self) -> None:
        """End all ranks, thawing them first: a frozen task does not die."""
        for i in range(WORLD):
            group = FREEZER / f"bed-{i}"
            if group.is_dir():
                (group / "freezer.state").write_text("THAWED", encoding="ascii")
                for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                    with suppress(OSError):
                        (FREEZER / "cgroup.procs").write_text(pid, encoding="ascii")
                _wait(5.0, partial(_removed, group))
        for pid in self.pids:
            if _is(pid, "train.py"):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        for file in self.out.glob("inj-*.pid"):
            for pid in file.read_text(encoding="ascii").split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)
            file.unlink()
        _wait(10.0, lambda: not any(_is(pid, "train.py") for pid in self.pids))
        self.watch.close()


def _wait(seconds: float, until: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.25)
    return True


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _is(pid: int, word: str) -> bool:
    """Whether *pid* is a process with *word* on its command line, so that no other is hit by a number used again."""
    with suppress(OSError):
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
