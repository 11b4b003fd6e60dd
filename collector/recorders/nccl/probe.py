"""Load a profiler library as NCCL does and say what it offers: `python -m offbeat.collector.recorders.nccl.probe FILE`.

A process of its own, because a library that is broken ends its process. Prints one line of JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offbeat.collector.ring.errors import RingError
from offbeat.collector.ring.place import discover, parse_name, ring_directory
from offbeat.collector.ring.reader import RingReader

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = range(1, 10)
"""Versions of the interface that are looked for; NCCL 2.32 knows 7."""
PROBE_SECONDS = 30
EVENTS = {1: "groups", 2: "collectives", 4: "sends and receives", 64: "kernels", 8: "transfers", 4096: "copy engines"}
_CALLS = 6
_WARN = 2
_IDENTITY = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_LOGGER = ctypes.CFUNCTYPE(
    None, ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p
)


class ProbeError(Exception):
    """The library cannot be loaded, or broke; the message says how."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a library offers: versions of the interface, events it asks for, and whether its ring could be read back."""

    versions: list[int]
    events: list[str]
    ring: str
    """Empty if it works, else why it does not."""


def probe(library: Path) -> Offer:
    """Load *library* in a process of its own and let it open a communicator.

    Raises:
        ProbeError: It cannot be loaded, exports no version, or its process broke.
    """
    # Without a rank: the agent must not take this for a part of a job.
    environment = {name: value for name, value in os.environ.items() if name not in _IDENTITY}
    try:
        done = subprocess.run(  # noqa: S603 - this program itself, and a file as argument
            [sys.executable, "-m", __name__, str(library.absolute())],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeError(f"loading it takes more than {PROBE_SECONDS} s") from None
    if done.returncode < 0:
        raise ProbeError(f"loading it ended its process with signal {-done.returncode}")
    if done.returncode:
        raise ProbeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it says nothing")
    said = json.loads(done.stdout)
    return Offer(said["versions"], said["events"], said["ring"])


def _look(path: str) -> dict[str, Any]:
    library = ctypes.CDLL(path)
    versions = []
    for version in VERSIONS:
        try:
            (ctypes.c_void_p * _CALLS).in_dll(library, f"ncclProfiler_v{version}")
        except ValueError:
            continue
        versions.append(version)
    if not versions:
        raise SystemExit("it exports no ncclProfiler_v<number>: no profiler plugin")
    newest = max((version for version in versions if version in {5, 6, 7}), default=0)
    if not newest:
        return {"versions": versions, "events": [], "ring": "not tried: it speaks none of the versions 5, 6, 7"}
    log: list[str] = []
    mask = _open_communicator((ctypes.c_void_p * _CALLS).in_dll(library, f"ncclProfiler_v{newest}"), log)
    events = [word for bit, word in EVENTS.items() if mask & bit]
    return {"versions": versions, "events": events, "ring": _own_ring() if mask else (log or ["no events wanted"])[0]}


def _open_communicator(calls: Any, log: list[str]) -> int:
    """Call `init` and `finalize`; return the mask of the events it asks for."""

    def line(level: int, _flags: int, _file: bytes, _line: int, form: bytes, *arguments: int) -> None:
        text = form.decode("utf-8", "replace")
        texts = text.count("%s")
        if level <= _WARN:
            if texts == text.count("%") <= len(arguments):  # our own lines take texts alone, and two at most
                for address in arguments[:texts]:
                    text = text.replace("%s", ctypes.string_at(address).decode("utf-8", "replace"), 1)
            log.append(text)

    logger = _LOGGER(line)
    context, mask = ctypes.c_void_p(), ctypes.c_int()
    number = ctypes.c_int
    init = ctypes.CFUNCTYPE(
        number, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_char_p, number, number, number, _LOGGER
    )(calls[1])
    init(ctypes.addressof(context), 1, ctypes.addressof(mask), b"probe", 1, 2, 0, logger)
    if context.value:
        ctypes.CFUNCTYPE(number, ctypes.c_void_p)(calls[5])(context)
    return mask.value


def _own_ring() -> str:
    """Read the ring of this process back and remove it; return what is wrong with it, if anything."""
    directory = ring_directory()
    own = [path for path in discover(directory) if (found := parse_name(path.name)) and found.pid == os.getpid()]
    if not own:
        return f"no ring appeared in {directory}"
    try:
        with RingReader(own[0]) as reader:
            named = [comm.name for comm in reader.poll().comms]
    except RingError as error:
        return str(error)
    finally:
        own[0].unlink()
    return "" if named == ["probe"] else f"{own[0]} does not hold what was written"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_look(sys.argv[1])) + "\n")
