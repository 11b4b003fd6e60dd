"""The command line in processes of its own, as users run it."""

import os
import subprocess
import sys

import httpx2
from support import wait_until


class Cli:
    """Runs `offbeat` in a process of its own."""

    def __init__(self, **env):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OFFBEAT_")}
        self.env = {**kept, "COLUMNS": "80", **env}

    def __call__(self, *args, **env):
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "offbeat.cli.main", *args],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**self.env, **env},
        )

    def start(self, *args, **env):
        """Start it and return the process."""
        return subprocess.Popen(
            [sys.executable, "-m", "offbeat.cli.main", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, **env},
        )


class Up:
    """`offbeat up` on a data directory: its process, and what it printed."""

    def __init__(self, directory, *flags):
        self.directory = directory
        self.process = Cli().start("up", "--port", "0", "--data-dir", str(directory), *flags)
        self.lines = [self.process.stdout.readline(), self.process.stdout.readline()]
        self.url = self.lines[0].split()[-1]
        self.login = self.lines[1].split()[1]
        wait_until(lambda: httpx2.get(f"{self.url}/livez", trust_env=False).is_success, 30)

    def end(self):
        """Ask it to end; return exit code and log."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log
