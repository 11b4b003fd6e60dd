"""What a snapshot costs: the copy into the keeper's memory, beside memcpy of the same arrays.

Usage: python benchmarks/recovery_copy.py [--mib 512] [--rounds 9]

A keeper of its own process holds the memory; the state is arrays of 16 KiB to 44 MiB. Rounds alternate with plain
`numpy.copyto` of the same arrays into warm memory of this process, so both see the same machine. The goal is a ratio of
at least 0.8. Checksums are taken afterwards from the copy, when the trainer no longer waits; the time until the seal is
printed beside.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import offbeat
from offbeat.recovery.memory.client import KeeperClient, KeeperGoneError

GOAL = 0.8
SIZES = (44 << 20, 11 << 20, 4 << 20, 1 << 20, 64 << 10, 16 << 10)


def arrays(total: int) -> dict[str, np.ndarray]:
    """Return arrays of mixed sizes, *total* bytes together, every page touched."""
    found, left = {}, total
    while left > 0:
        size = min(SIZES[len(found) % len(SIZES)], left)
        found[f"a{len(found):05}"] = np.full(size // 4 or 1, len(found), np.float32)
        left -= size
    return found


def memcpy(source: dict[str, np.ndarray], target: dict[str, np.ndarray]) -> float:
    """Copy all arrays; return the seconds."""
    begun = time.perf_counter()
    for name, value in source.items():
        np.copyto(target[name], value)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ob-") as directory:
        os.environ |= {"OFFBEAT_KEEPER_DIR": directory, "OFFBEAT_JOB": "benchmark"}
        keeper = subprocess.Popen([sys.executable, "-m", "offbeat.cli.main", "keeper", "--directory", directory])
        try:
            measure(arrays(options.mib << 20), options.rounds, Path(directory))
        finally:
            keeper.terminate()
            keeper.wait(20)


def measure(state: dict[str, np.ndarray], rounds: int, directory: Path) -> None:
    """Take snapshots and copies by turns."""
    client = KeeperClient(directory)
    for _ in range(600):
        try:
            client.call("epochs")
            break
        except KeeperGoneError:
            time.sleep(0.1)
    snap = offbeat.Snapshotter(state)
    target = {name: np.zeros_like(value) for name, value in state.items()}
    size = sum(value.nbytes for value in state.values())
    copies, plain, stalls, seals = [], [], [], []
    for step in range(rounds + 4):  # each slot and the plain target are touched before anything counts
        plain.append(memcpy(state, target))
        begun = time.perf_counter()
        snap.step(step)
        snap.wait()
        seals.append(time.perf_counter() - begun)
        copies.append(snap.figures.last_copy_seconds)
        stalls.append(snap.figures.last_stall_seconds)
        time.sleep(0.3)  # the keeper commits meanwhile, so that every step finds a slot
    copies, plain, stalls = copies[4:], plain[4:], stalls[4:]
    ratios = sorted(p / c for p, c in zip(plain, copies, strict=True))
    print(
        f"{len(state)} arrays, {size / 2**20:.0f} MiB; {snap.figures.taken} snapshots, skipped {snap.figures.skipped}"
    )
    print(f"memcpy        median {size / statistics.median(plain) / 1e9:6.2f} GB/s")
    print(f"snapshot copy median {size / statistics.median(copies) / 1e9:6.2f} GB/s")
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"copy : memcpy median {statistics.median(ratios):6.2f} ({spread} of {len(ratios)} rounds); goal {GOAL}")
    rest = statistics.median(s - c for s, c in zip(stalls, copies, strict=True))
    sealed = statistics.median(seals[4:]) / statistics.median(plain)
    print(f"until it is sealed, checksums included: {sealed:.2f} x memcpy")
    print(f"besides the copy, step() took {rest * 1e3:.2f} ms (the small part, a call to the keeper, threads)")
    snap.close()


if __name__ == "__main__":
    main()
