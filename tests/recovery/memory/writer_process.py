"""A process that fills slots without end, to be killed: `python writer_process.py SLOT… NBYTES`."""

import itertools
import os
import sys
from pathlib import Path

import numpy as np

from offbeat.recovery.memory import region, slot
from offbeat.recovery.memory.epoch import DATA, Seal


def main(paths, nbytes):
    """Write step after step, each chunk full of the step's number, by turns into all slots."""
    opened = [slot.open_slot(Path(path)) for path in paths]
    assert all(region.lock(descriptor) for descriptor, _ in opened)
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    for step in itertools.count():
        target = opened[step % len(opened)][1]
        target.begin()
        target.data[:nbytes] = step % 251
        sums = slot.checksums(target.data[:nbytes], target.chunk)
        target.seal(Seal("job", DATA, 0, 1, 1, step, nbytes, "ab" * 32, 0, 0), np.asarray(sums))


if __name__ == "__main__":
    main(sys.argv[1:-1], int(sys.argv[-1]))
