"""Where rings are and whose they are: the directory, the file name, and the identity of a process."""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path
from typing import NamedTuple

DEFAULT_DIRECTORY = "/dev/shm/offbeat"  # noqa: S108 - shared memory, each ring 0600
AGENT_FILE = "agent"
"""The agent touches this file in the ring directory at every poll."""
AGENT_SECONDS = 15.0
"""An agent that has not touched its file for as long is taken for absent."""
SWEEP_SECONDS = 3600.0
"""Age of a dead process's ring that a later trainer removes; without it, runs without an agent fill shared memory."""
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)(?:-([a-z0-9]{1,15}))?\.ring")


class Process(NamedTuple):
    """A process as the file name of its ring tells it: unique on a machine as long as it is up."""

    pidns: int
    pid: int
    start_ticks: int


def ring_directory() -> Path:
    """Return the directory of rings: `OFFBEAT_RING_DIR`, else shared memory."""
    return Path(os.environ.get("OFFBEAT_RING_DIR") or DEFAULT_DIRECTORY)


def make_directory(directory: Path) -> None:
    """Create the ring directory: sticky and open to all where its parent is (other users train here too), else private.

    Raises:
        OSError: It cannot be created.
    """
    if directory.is_dir():
        return
    parent = directory.parent.stat().st_mode if directory.parent.is_dir() else 0
    shared = bool(parent & stat.S_ISVTX and parent & stat.S_IWOTH)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shared:
        directory.chmod(0o1777)


def ring_name(process: Process, source: str) -> str:
    """Return the file name of a process's ring; the torch recorder's has no suffix, others carry their source."""
    suffix = "" if source == "torch" else f"-{source}"
    return f"{process.pidns}-{process.pid}-{process.start_ticks}{suffix}.ring"


def parse_name(name: str) -> Process | None:
    """Return the process a ring's file name tells of, or None where it is no ring's name."""
    match = _NAME.fullmatch(name)
    return Process(int(match[1]), int(match[2]), int(match[3])) if match else None


def discover(directory: Path) -> list[Path]:
    """Return the rings of a directory, sorted by name; none where it is absent."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
    return [directory / name for name in sorted(names) if _NAME.fullmatch(name)]


def namespace(kind: str, pid: int | str = "self") -> int:
    """Return the inode of a process's namespace (`pid`, `net`), 0 where it cannot be read."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino  # noqa: PTH116 - os.stat follows the link with one call
    except OSError:
        return 0


def start_ticks(pid: int | str = "self") -> int | None:
    """Return when a process started (clock ticks since boot), or None where it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - this runs for every ring at every poll
            fields = file.read().rpartition(b") ")[2].split()
        return None if fields[0] in b"ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def this_process() -> Process:
    """Return the identity of the calling process."""
    return Process(namespace("pid"), os.getpid(), start_ticks() or 0)


def agent_present(directory: Path) -> bool:
    """Tell whether an agent has looked after this directory lately."""
    try:
        return time.time() - (directory / AGENT_FILE).stat().st_mtime < AGENT_SECONDS
    except OSError:
        return False


def sweep(directory: Path) -> None:
    """Remove our own dead rings that no agent has come for in `SWEEP_SECONDS`."""
    pidns, now = namespace("pid"), time.time()
    for path in discover(directory):
        process = parse_name(path.name)
        if process is None or process.pidns != pidns or start_ticks(process.pid) == process.start_ticks:
            continue
        try:
            status = path.lstat()
            if status.st_uid == os.getuid() and now - status.st_mtime > SWEEP_SECONDS:
                path.unlink()
        except OSError:
            continue
