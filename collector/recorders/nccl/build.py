"""Make the plugin's library of its C sources, with the compiler of the machine."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

LIBRARY = "libnccl-profiler-offbeat.so"
SOURCES = Path(__file__).parent
# Not of this processor alone: the library may lie on a file system that all nodes share. NCCL unloads plugins after the
# last communicator; this one stays, with its ring.
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-Wl,-z,nodelete", "-Wl,-z,now")
COMPILERS = ("cc", "gcc", "clang")
BUILD_SECONDS = 300


class BuildError(Exception):
    """The library could not be built; the message says why and what helps."""


def directory() -> Path:
    """Return where the library of these sources is put: a place of the user's, by the sources' digest."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "offbeat" / "nccl" / digest.hexdigest()[:12]


def library(where: Path | None = None) -> Path | None:
    """Return the built library in *where* (default: `directory()`), None if there is none."""
    found = (where or directory()) / LIBRARY
    return found if found.is_file() else None


def compiler() -> list[str] | None:
    """Return the command of the C compiler: `CC`, else the first there is; None without any."""
    given = shlex.split(os.environ.get("CC", ""))
    if given:
        return given if shutil.which(given[0]) else None
    return next(([path] for name in COMPILERS if (path := shutil.which(name))), None)


def build(where: Path | None = None) -> Path:
    """Compile the library into *where* (default: `directory()`) and return its path.

    Raises:
        BuildError: There is no compiler, it fails, or the place cannot be written.
    """
    command = compiler()
    if command is None:
        raise BuildError("no C compiler: install gcc or clang, or name one with CC (only this command needs it)")
    target = where or directory()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as fresh:
            made = Path(fresh) / LIBRARY
            sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
            done = subprocess.run(  # noqa: S603 - the user's own compiler, on our own files
                [*command, *FLAGS, "-o", str(made), *sources],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=BUILD_SECONDS,
                check=False,
            )
            if done.returncode:
                raise BuildError(f"{command[0]} failed: {_last_lines(done.stderr)}")
            made.chmod(0o755)
            # Under its name only when it is whole: a job may be starting this moment.
            made.replace(target / LIBRARY)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} has not finished in {BUILD_SECONDS} s") from None
    except OSError as error:
        raise BuildError(f"{target}: {error.strerror or error}") from None
    return target / LIBRARY


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines() or ["it said nothing"]
    return "; ".join(lines[:3])
