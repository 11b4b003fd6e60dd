"""What a ring costs: the writer's time for an operation (start and end), the reader's for a poll.

Usage: python benchmarks/ring_write.py [--blocks N]

The goal is at most 2 µs of thread CPU time an operation. Blocks are short and the best one counts most: a machine's
speed wanders, and only by being slower. The median is printed beside it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from offbeat.collector.ring.reader import RingReader
from offbeat.collector.ring.writer import RingWriter

GOAL_US = 2.0
BLOCK = 2000


def write_block(ring: RingWriter, signature: bytes) -> float:
    """Return the thread CPU time of one operation, in µs."""
    start, end = ring.start, ring.end
    begun = time.thread_time_ns()
    for seq in range(BLOCK):
        end(start(signature, 1024, seq))
    return (time.thread_time_ns() - begun) / BLOCK / 1e3


def poll_block(ring: RingWriter, signature: bytes, reader: RingReader, operations: int) -> float:
    """Return the thread CPU time of one poll that finds so many new operations, in µs."""
    for seq in range(operations):
        ring.end(ring.start(signature, 1024, seq))
    begun = time.thread_time_ns()
    reader.poll()
    return (time.thread_time_ns() - begun) / 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60)
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        ring = RingWriter(Path(directory))
        communicator = ring.communicator("0@benchmark", "0", 0, range(8))
        signature = ring.signature(communicator, "all_reduce", native="allreduce", dtype="float32")
        for _ in range(8):
            ring.start(signature, 1024, -1)  # some operations are always open
        writes = [write_block(ring, signature) for _ in range(blocks)]
        print(f"start + end: best {min(writes):.2f} µs, median {statistics.median(writes):.2f} µs; goal {GOAL_US} µs")
        with RingReader(ring.path) as reader:
            reader.poll()
            for operations in (0, 50, 1000):
                polls = [poll_block(ring, signature, reader, operations) for _ in range(blocks)]
                print(
                    f"poll of {operations:4d} new: best {min(polls):.0f} µs, median {statistics.median(polls):.0f} µs"
                )
        ring.close()


if __name__ == "__main__":
    main()
