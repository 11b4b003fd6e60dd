"""What coding costs: encode and decode as the keeper does, beside ISA-L's own raw loop and memcpy, same buffers.

Usage: python benchmarks/recovery_coding.py [--mib 256] [--rounds 7] [--plain]

GB/s are of the k data shards. The raw loop calls `ec_encode_data` with tables and pointers made beforehand. With
--plain the numpy fallback is measured too. The goal is at least 0.7 of the raw loop.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable

import numpy as np

from offbeat.recovery.memory import coding, isal
from offbeat.recovery.memory.coding import Code

GOAL = 0.7


def raw_loop(
    rows: list[list[int]], sources: list[list[np.ndarray]], targets: list[list[np.ndarray]]
) -> Callable[[], None]:
    """Return ISA-L called for every stripe with everything prepared, as fast as Python can call it."""
    library = isal.library()
    k, length = len(rows[0]), sources[0][0].nbytes
    matrix, tables = np.array(rows, np.uint8), np.zeros(32 * k * len(rows), np.uint8)
    library.ec_init_tables(k, len(rows), matrix.ctypes.data, tables.ctypes.data)
    pointers = [
        (np.array([v.ctypes.data for v in s], np.uint64), np.array([v.ctypes.data for v in t], np.uint64))
        for s, t in zip(sources, targets, strict=True)
    ]
    arguments = [(ctypes.c_void_p(s.ctypes.data), ctypes.c_void_p(t.ctypes.data)) for s, t in pointers]
    table = ctypes.c_void_p(tables.ctypes.data)

    def run(_: object = pointers) -> None:
        for source, target in arguments:
            library.ec_encode_data(length, k, len(rows), table, source, target)

    return run


def timed(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this thread that *work* took, so that other work on the machine counts less."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def measure(k: int, m: int, chunk: int, total: int, rounds: int, *, plain: bool) -> None:
    """Measure one code at one chunk size and print a line."""
    stripes = max(1, total // (k * chunk))
    memory = np.random.default_rng(0).integers(0, 256, (stripes, k + m, chunk), np.uint8)
    data = [[stripe[i] for i in range(k)] for stripe in memory]
    parity = [[stripe[k + i] for i in range(m)] for stripe in memory]
    out = [[np.zeros(chunk, np.uint8) for _ in range(m)] for _ in range(stripes)]
    code, lost = Code(k, m), list(range(m))
    present = [shard for shard in range(k + m) if shard not in lost][:k]
    left = [{shard: stripe[shard] for shard in range(k + m) if shard not in lost} for stripe in memory]
    copy_to = np.zeros((stripes, k, chunk), np.uint8)

    def encode() -> None:
        for sources, targets in zip(data, parity, strict=True):
            code.encode(sources, targets)

    def decode() -> None:
        for shards, targets in zip(left, out, strict=True):
            code.decode(shards, dict(zip(lost, targets, strict=True)))

    rows = [code.coefficients(shard, present) for shard in lost]
    works: dict[str, Callable[[], object]] = {
        "memcpy": lambda: np.copyto(copy_to, memory[:, :k]),
        "raw encode": raw_loop(code.rows[k:], data, parity),
        "encode": encode,
        "raw decode": raw_loop(rows, [[s[shard] for shard in present] for s in memory], out),
        "decode": decode,
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            took = timed(work)
            if turn:
                seconds[name].append(took)
    assert all(np.array_equal(found[0], stripe[0]) for found, stripe in zip(out, memory, strict=True))
    size = stripes * k * chunk
    speed = {name: size / statistics.median(took) / 1e9 for name, took in seconds.items()}
    ratios = [
        statistics.median(r / o for r, o in zip(seconds[f"raw {what}"], seconds[what], strict=True))
        for what in ("encode", "decode")
    ]
    line = f"{k}+{m} {chunk >> 20:3} MiB  memcpy {speed['memcpy']:5.1f}"
    for what, ratio in zip(("encode", "decode"), ratios, strict=True):
        line += f"  {what} {speed[what]:5.1f} ({ratio:.2f} of raw)"
    if plain:
        found, isal.library = isal.library, lambda: None
        line += f"  numpy encode {size / timed(encode) / 1e9:4.2f} decode {size / timed(decode) / 1e9:4.2f}"
        isal.library = found
    print(line, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    if isal.library() is None:
        raise SystemExit("ISA-L is not installed: pip install pyeclib")
    assert coding.isal is isal
    print(f"GB/s of data; goal: {GOAL} of the raw loop")
    for k, m in ((4, 1), (4, 2), (8, 2)):
        for chunk in (1 << 20, 8 << 20, 64 << 20):
            if k * chunk <= 2 * (options.mib << 20):
                measure(k, m, chunk, options.mib << 20, options.rounds, plain=options.plain)


if __name__ == "__main__":
    main()
