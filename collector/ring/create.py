"""Create the file of a ring: complete before it has its name, all pages taken, locked as long as the process lives."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from offbeat.collector.ring import layout, place

if TYPE_CHECKING:
    from pathlib import Path

FIRST_IDENTITY = 2
"""Number of the identity a new ring holds; even, for it is in the first of the two places."""


def create(path: Path, plan: layout.Plan, process: place.Process, source: str) -> int:
    """Write a whole ring under a temporary name and give it its own; return the file descriptor.

    Raises:
        OSError: It cannot be created, or shared memory is full.
    """
    header = bytearray(layout.HEADER_BYTES)
    layout.HEADER.pack_into(
        header,
        0,
        layout.MAGIC,
        layout.VERSION,
        layout.HEADER_BYTES,
        plan.file_bytes,
        time.time_ns(),
        process.pid,
        os.getuid(),
        process.start_ticks,
        process.pidns,
        place.namespace("net"),
        source.encode()[:15],
        os.uname().nodename.encode()[:63],
    )
    for index, name in enumerate(layout.AREA_NAMES):
        layout.AREA.pack_into(header, layout.AREAS_AT + index * layout.AREA.size, *plan.areas[name])
    header[layout.LANE_COUNT_AT] = plan.lanes
    layout.IDENTITY.pack_into(header, layout.IDENTITY_AT, FIRST_IDENTITY, 0, -1, -1, -1, b"", FIRST_IDENTITY)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # All pages now: a page that cannot be had later would end the trainer with SIGBUS.
        os.posix_fallocate(file, 0, plan.file_bytes)
        os.pwrite(file, header, 0)
        # Held as long as this process lives: tells a reader so even across process and time namespaces.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(temporary, path)  # noqa: PTH104 - one call, beside the others on the descriptor
    except OSError:
        os.close(file)
        temporary.unlink(missing_ok=True)
        raise
    return file
