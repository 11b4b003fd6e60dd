"""The demo from start to end: service, hosts, job, beat, faults, table."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

from offbeat.cli.demo import faults
from offbeat.cli.demo.hosts import lay_bed
from offbeat.cli.demo.job import Job, wait_for_steps
from offbeat.cli.demo.processes import Processes
from offbeat.cli.demo.report import Screen, show_table
from offbeat.cli.demo.service import Service
from offbeat.cli.demo.trial import Trial, TrialError
from offbeat.cli.demo.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from offbeat.cli.demo.faults import Fault
    from offbeat.cli.demo.hosts import Host

HOSTS = 4
RANKS_PER_HOST = 2
FAULTS = 4
JOB = "demo"
START_SECONDS = 120.0
"""How long the ranks may take to their first steps: each imports torch, on however few cores there are."""


def run(console: Console, *, seed: int | None = None, plain: bool = False, stay: bool = False) -> bool:
    """Run the demo.

    Args:
        console: Where to print.
        seed: Which ranks and which host are hit; None: by chance.
        plain: Use plain processes even where namespaces can be had.
        stay: Keep service and dashboard up at the end until interrupted.

    Returns:
        Whether every fault was named right and nobody else ever was.

    Raises:
        TrialError: The job did not start, died of something else, or its beat was not learned.
        ServiceError: The service or an agent did not start, or ended.
    """
    # The embedded default, whatever this shell is set up for.
    for name in [name for name in os.environ if name.startswith("OFFBEAT_")]:
        del os.environ[name]
    chance = random.Random(seed)  # noqa: S311 - picks victims, keeps no secret
    with ExitStack() as stack:
        root = Path(stack.enter_context(scratch()))
        bed = lay_bed(HOSTS, root, plain=plain)
        stack.callback(bed.close)
        processes = stack.enter_context(Processes())
        screen = stack.enter_context(Screen(console, steps=4 + FAULTS))

        screen.say(f"Hosts: {bed.description}")
        screen.stage("starting the service")
        service = Service(bed.hosts, root / "service", processes)
        service.wait()
        screen.step()
        screen.say(f"Dashboard: {service.login_url}")
        screen.say(f"           (this address logs in once; later with the token {service.viewer_token})")

        screen.stage("starting an agent on each host")
        service.start_agents()
        screen.step()

        world = HOSTS * RANKS_PER_HOST
        screen.say(f"Job: {world} ranks of torch.distributed (gloo), {RANKS_PER_HOST} a host, under offbeat.run")
        screen.stage("starting the training job")
        job = Job(JOB, bed.hosts, RANKS_PER_HOST, root / "job", processes)
        if not wait_for_steps(job, 10, START_SECONDS):
            raise TrialError(f"the job did not start:\n{job.ranks[next(iter(job.dead()), 0)].tail()}")
        screen.step()

        watch = Watch(service.url, service.viewer_token, JOB)
        stack.callback(watch.close)
        trial = Trial(screen, job, watch, service)
        screen.stage("the service learns the job's beat")
        trial.learn()
        screen.step()
        screen.say("The beat is learned.")

        for fault in choose(job, bed.hosts, chance):
            trial.inflict(fault)
        screen.close()
        right = show_table(console, trial.outcomes, trial.alarms)
        if stay:
            screen.say(f"The dashboard stays at {service.url}; Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):  # the end that was asked for: the result stands
                while True:
                    service.check()
                    time.sleep(1.0)
    return right


def scratch() -> TemporaryDirectory[str]:
    """Return a directory for what the demo keeps while it runs."""
    # The path of the service's Unix socket may have 107 characters.
    directory = None if len(gettempdir()) < 50 else "/tmp"  # noqa: S108 - a new directory of our own is made in it
    return TemporaryDirectory(prefix=f"offbeat-demo-{os.getpid()}-", dir=directory)


def choose(job: Job, hosts: Sequence[Host], chance: random.Random) -> list[Fault]:
    """Return the demo's faults, each on a rank or host picked by *chance*."""
    slow, stopped, killed = chance.sample(range(job.world), 3)
    host = chance.choice(hosts)
    on_host = [rank for rank in range(job.world) if job.host(rank) is host]
    return [
        faults.slow_rank(job, slow),
        faults.slow_host(host, on_host),
        faults.stopped_rank(job, stopped),
        faults.killed_rank(job, killed),
    ]
