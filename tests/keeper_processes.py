"""Keepers and trainers as processes of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from support import wait_until

from offbeat.recovery.memory.client import KeeperClient, KeeperGoneError

TRAINER = Path(__file__).with_name("train_process.py")


class KeeperProcess:
    """`offbeat keeper` of one host."""

    def __init__(self, directory, host="a", **settings):
        """Start it and wait until it answers."""
        self.directory, self.host = Path(directory), host
        self.settings = {f"OFFBEAT_{name.upper()}": str(value) for name, value in settings.items()}
        self.client = KeeperClient(self.directory)
        self.process = None
        self.start()

    def start(self):
        """Start it, again after it was stopped or killed."""
        environment = (
            os.environ | {"OFFBEAT_HOST": self.host, "OFFBEAT_KEEPER_DIR": str(self.directory)} | self.settings
        )
        self.process = subprocess.Popen([sys.executable, "-m", "offbeat.cli.main", "keeper"], env=environment)
        wait_until(self.answers, 100)

    def answers(self):
        """Return whether it answers; fail when it ended."""
        assert self.process.poll() is None, f"keeper {self.host} ended with {self.process.returncode}"
        with contextlib.suppress(KeeperGoneError):
            return self.client.call("epochs")
        return None

    def held(self, job):
        """Return what it tells of a job, None where it has nothing."""
        return next((item for item in self.client.call("epochs")["jobs"] if item["job"] == job), None)

    def committed(self, job):
        """Return the step that is committed, -1 where none is."""
        found = self.held(job)
        return found["committed"][1] if found and found["committed"] else -1

    def kill(self, number=signal.SIGKILL):
        """End it; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def stop(self):
        """End it if it still runs."""
        if self.process.poll() is None:
            self.kill()
        self.client.close()


def free_port():
    """Return a port that was free just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def trainer(directory, steps, pause=0.0, *, quiet=False, **environment):
    """Start one trainer; its output is read line by line, or with *quiet* goes nowhere."""
    given = {name: str(value) for name, value in environment.items()}
    values = os.environ | {"OFFBEAT_JOB": "job", "OFFBEAT_KEEPER_DIR": str(directory)} | given
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    return subprocess.Popen([sys.executable, TRAINER, str(steps), str(pause)], env=values, stdout=out, text=True)


def ranks(directories, steps, pause=0.0, **environment):
    """Start one trainer for each directory, together one job."""
    port = free_port()
    world = {"WORLD_SIZE": len(directories), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        trainer(directory, steps, pause, RANK=rank, **world, **environment)
        for rank, directory in enumerate(directories)
    ]


def output(process, timeout=200):
    """Wait for the end of a process; return its lines, having checked that it ended well."""
    text, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, text
    return text.splitlines()


def digests(lines):
    """Return step → digest of a trainer's lines."""
    return {int(line.split()[2]): line.split()[3] for line in lines if " step " in line}


def started(lines):
    """Return the step that a trainer began with."""
    return next(int(line.split()[2]) for line in lines if " start " in line)


def kill_after(process, line_with, delay=0.0):
    """Kill a process some time after it has printed a line that holds a text; return its lines until then."""
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line_with in line:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=20)
    return lines + rest.splitlines()
