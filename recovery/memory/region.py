"""Files in shared memory: all pages taken when they are made, never made anew while somebody uses them.

Plain files on a tmpfs, not `multiprocessing.shared_memory`: before Python 3.13 its tracker removes a segment when the
trainer that attached to it is killed (cpython issue 82300), which is the moment the segment is for.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MADV_POPULATE_WRITE = 23
"""Linux 5.14; Python has no name for it."""
_PAGE = 4096


def create(path: Path, nbytes: int, head: bytes) -> None:
    """Make a file of *nbytes*, private, with all its pages, that begins with *head*; complete before it has its name.

    Raises:
        OSError: Shared memory is full, or the file exists.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        # All pages now: one that cannot be had later would end the trainer with SIGBUS, and a first touch costs ten
        # times a warm copy.
        os.posix_fallocate(descriptor, 0, nbytes)
        os.pwrite(descriptor, head, 0)
        os.link(temporary, path)  # unlike a rename this takes no file's place
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def attach(descriptor: int, *, writable: bool = True) -> NDArray[np.uint8]:
    """Map an open file, and let this process have its pages at once; return its bytes.

    Raises:
        OSError: It cannot be mapped.
        ValueError: It is empty.
    """
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    found = mmap.mmap(descriptor, 0, mmap.MAP_SHARED, access)
    if writable:
        with contextlib.suppress(OSError):  # an older kernel: the first copy is slower
            found.madvise(_MADV_POPULATE_WRITE)
    return np.frombuffer(found, np.uint8)


def lock(descriptor: int) -> bool:
    """Lock a file for this process, until it ends or closes the file; False where another process has it.

    A lock of the process, not of the open file: children that a trainer forks do not inherit it.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def locked(descriptor: int) -> bool:
    """Tell whether another process holds the lock."""
    if not lock(descriptor):
        return True
    fcntl.lockf(descriptor, fcntl.LOCK_UN)
    return False
