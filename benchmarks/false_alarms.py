"""A healthy job, watched for minutes: whatever is named is a false alarm, unless the machine itself was short of CPU.

    python benchmarks/false_alarms.py --minutes 10
    python benchmarks/false_alarms.py --minutes 10 --busy

With --busy, busy loops run beside the job by turns (a minute with, half a minute without). The job then really is
slower, so findings are allowed, but only such that say why: each must carry evidence of CPU pressure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from offbeat.cli.demo.hosts import lay_bed
from offbeat.cli.demo.interrupts import end_in_order
from offbeat.cli.demo.job import Job, wait_for_steps
from offbeat.cli.demo.processes import Processes, end
from offbeat.cli.demo.report import name_culprits
from offbeat.cli.demo.service import Service
from offbeat.cli.demo.watch import POLL_SECONDS, Watch

if TYPE_CHECKING:
    from offbeat.cli.demo.judge import Sighting
    from offbeat.cli.demo.processes import Process

START_SECONDS = 120.0
LEARN_SECONDS = 90.0
BUSY_SECONDS, CALM_SECONDS = 60.0, 30.0
_LOOP = "while True: pass"


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


def main() -> int:
    """Run the bench; return 0 when no finding was a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, once the beat is learned")
    parser.add_argument("--busy", action="store_true", help="busy loops beside the job, by turns")
    parser.add_argument("--loops", type=int, default=3, help="how many busy loops")
    parser.add_argument("--plain", action="store_true", help="plain processes instead of network namespaces")
    parser.add_argument("--out", type=Path, help="write all findings there, as JSON")
    arguments = parser.parse_args()
    end_in_order()
    for name in [name for name in os.environ if name.startswith("OFFBEAT_")]:
        del os.environ[name]
    console = Console(soft_wrap=True, highlight=False)
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory(prefix="offbeat-bench-")))
        bed = lay_bed(4, root, plain=arguments.plain)
        stack.callback(bed.close)
        processes = stack.enter_context(Processes())
        service = Service(bed.hosts, root / "service", processes)
        service.wait()
        service.start_agents()
        console.print(f"8 ranks on {bed.description}; dashboard {service.login_url}", markup=False)
        job = Job("healthy", bed.hosts, 2, root / "job", processes)
        watch = Watch(service.url, service.viewer_token, "healthy")
        stack.callback(watch.close)
        _learn(job, watch)
        loops = arguments.loops if arguments.busy else 0
        _watch(arguments.minutes * 60, job, watch, service, Turns(processes, root / "loop.log", loops))
        sightings = watch.look()
        steps = len(job.steps())
    if arguments.out:
        arguments.out.write_text(json.dumps([s.findings for s in sightings], indent=1), encoding="utf-8")
    return _report(console, sightings, steps, busy=arguments.busy)


class Turns:
    """Busy loops that run for a while and stop for a while."""

    def __init__(self, processes: Processes, log: Path, n: int) -> None:
        self._processes, self._log, self._n = processes, log, n
        self._loops: list[Process] = []
        self._turn_at = time.monotonic() + CALM_SECONDS

    def look(self) -> None:
        """Start or stop the loops when it is time."""
        if self._n == 0 or time.monotonic() < self._turn_at:
            return
        if self._loops:
            end(self._loops)
            self._loops = []
            self._turn_at = time.monotonic() + CALM_SECONDS
        else:
            self._loops = [self._processes.start([sys.executable, "-c", _LOOP], self._log) for _ in range(self._n)]
            self._turn_at = time.monotonic() + BUSY_SECONDS


def _learn(job: Job, watch: Watch) -> None:
    if not wait_for_steps(job, 10, START_SECONDS):
        raise BenchError(f"the job did not start:\n{job.ranks[0].tail()}")
    deadline = time.monotonic() + LEARN_SECONDS
    while watch.state() != "running":
        if time.monotonic() > deadline:
            raise BenchError(f"the beat was not learned in {LEARN_SECONDS:g} s")
        watch.look()
        time.sleep(POLL_SECONDS)


def _watch(seconds: float, job: Job, watch: Watch, service: Service, turns: Turns) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        watch.look()
        service.check()
        turns.look()
        if job.dead():
            raise BenchError(f"rank {job.dead()[0]} died by itself:\n{job.ranks[job.dead()[0]].tail()}")
        time.sleep(POLL_SECONDS)


def _report(console: Console, sightings: list[Sighting], steps: int, *, busy: bool) -> int:
    """Print what was found; return the exit code."""
    bad = 0
    for sighting in sightings:
        starved = all(_has_pressure(finding) for finding in sighting.findings)
        serious = any(finding["severity"] != "info" for finding in sighting.findings)
        alarm = serious and not (busy and starved)
        bad += alarm
        finding = sighting.findings[-1]
        console.print(
            f"{'FALSE ALARM' if alarm else 'fine':<12} {finding['class']} ({finding['severity']}) "
            f"[{name_culprits(finding)}], CPU-pressure evidence: {'yes' if starved else 'no'}; {finding['summary']}",
            markup=False,
        )
    counts = Counter((s.findings[-1]["class"], s.findings[-1]["severity"]) for s in sightings)
    said = ", ".join(f"{n} {class_} ({severity})" for (class_, severity), n in sorted(counts.items())) or "none"
    console.print(f"{steps} steps; incidents: {said}; false alarms: {bad}", markup=False)
    return int(bad > 0)


def _has_pressure(finding: dict[str, Any]) -> bool:
    return any(item["kind"] == "cpu_pressure" for item in finding["evidence"])


if __name__ == "__main__":
    sys.exit(main())
