"""How unsteady real machines are: the parameters of the simulator's `Noise`, fitted to real timings.

Two sources: a straggler trace (ByteDance-Seed/StragglerAnalysis, per-operation times of a real 64-GPU job;
`--trace`), for what GPUs do, and a short all-reduce loop of real processes over gloo on this machine (`--gloo`), for
the disorder in which members leave a collective. What is found is printed beside the values that the simulator uses.
Run: python benchmarks/fit_noise.py --trace trace-AR.parquet [--gloo]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from offbeat.analyzer.engine import robust
from offbeat.analyzer.readers import straggler
from offbeat.simulator.spec import Noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from offbeat.analyzer.readers.straggler import StragglerTrace

    Floats = np.ndarray[Any, np.dtype[np.float64]]

OUTLIER = 1.3
"""Length of a pass, in medians of its rank and kind, from which something interrupted it."""
STRAGGLER = 1.2
"""A worker's median against its stage's from which it is at fault, and says nothing of honest differences."""
PROCESSES, ROUNDS, FLOATS = 4, 400, 250_000


def main() -> None:
    """Print what the sources give."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", type=Path, action="append", default=[])
    parser.add_argument("--gloo", action="store_true")
    options = parser.parse_args()
    used = asdict(Noise())
    found: list[tuple[str, float, str]] = []
    for file in options.trace:
        found += [(name, value, f"{file.stem}: {how}") for name, value, how in of_trace(straggler.read(file))]
    if options.gloo:
        found += of_gloo()
    if not found:
        parser.error("nothing to fit to: --trace, --gloo or both")
    print(f"{'parameter':14} {'fitted':>10} {'used':>10}  source")
    for name, value, how in found:
        print(f"{name:14} {value:10.4g} {used[name]:10.4g}  {how}")


def of_trace(trace: StragglerTrace) -> Iterator[tuple[str, float, str]]:
    """Yield (parameter, value, how it was found) of a straggler trace; workers at fault are left out."""
    words = {word: k for k, word in enumerate(trace.ops)}
    logs, medians, tails = [], [], []
    for kind in ("forward-compute", "backward-compute"):
        for stage in np.unique(trace.stage):
            rows = (trace.op == words[kind]) & (trace.stage == stage)
            each = {int(d): trace.duration[rows & (trace.replica == d)] for d in np.unique(trace.replica[rows])}
            typical = float(np.median([np.median(v) for v in each.values()]))
            healthy = {d: v for d, v in each.items() if np.median(v) < STRAGGLER * typical}
            for took in healthy.values():
                share = took / np.median(took)
                logs.append(np.log(share[share < OUTLIER]))
                tails.append((took - np.median(took))[share >= OUTLIER])
            medians += [np.log(np.median(v) / typical) for v in healthy.values()]
    passes = sum(len(v) for v in logs) + sum(len(v) for v in tails)
    yield (
        "chunk",
        _deviation(np.concatenate(logs)),
        f"spread of the logarithm of {passes} passes, each against its rank",
    )
    lasting = _deviation(np.array(medians))
    how = f"spread of {len(medians)} workers' medians within their stage (of hosts and ranks together)"
    yield "host", lasting * np.sqrt(0.7), f"{how}, 70 % of its variance"
    yield "rank", lasting * np.sqrt(0.3), f"{how}, 30 % of its variance"
    interrupted = np.concatenate(tails)
    yield "pause_chance", len(interrupted) / passes, f"passes longer than {OUTLIER} medians"
    if len(interrupted):
        yield "pause_ms", float(np.median(interrupted)) * 1e3, "median of what these took longer"
    moved = np.concatenate(list(_transfers(trace)))
    yield "transfer", _deviation(moved), f"spread of {len(moved)} transfers (end - last start), each against its path"


def _transfers(trace: StragglerTrace) -> Iterator[Floats]:
    """Yield the logarithms of how long gradients' reductions of a stage took, against the typical one."""
    words = {word: k for k, word in enumerate(trace.ops)}
    for name in ("grads-reduce-scatter", "params-all-gather"):
        rows = np.nonzero(trace.op == words.get(name, -2))[0]
        for stage in np.unique(trace.stage[rows]):
            mine = rows[trace.stage[rows] == stage]
            took = []
            for step in np.unique(trace.step[mine]):
                here = mine[trace.step[mine] == step]
                took.append(float(np.max(trace.start[here] + trace.duration[here]) - np.max(trace.start[here])))
            lengths = np.array(took)
            yield np.log(lengths[lengths > 0] / np.median(lengths[lengths > 0]))


def _deviation(values: Floats) -> float:
    return float(robust.spread(values[:, None])[0])


def of_gloo() -> list[tuple[str, float, str]]:
    """Run an all-reduce loop of real processes and return by how much their departures differ."""
    context = get_context("spawn")
    with TemporaryDirectory(prefix="offbeat-fit-") as directory:
        results = context.Queue()
        processes = [context.Process(target=_member, args=(r, directory, results)) for r in range(PROCESSES)]
        for process in processes:
            process.start()
        ends = dict(results.get(timeout=300) for _ in processes)
        for process in processes:
            process.join()
    left = np.stack([ends[r] for r in range(PROCESSES)]) / 1e6
    skew = left - np.median(left, axis=0)
    how = (
        f"{PROCESSES} gloo processes, {ROUNDS} all-reduces of {4 * FLOATS // 1000} kB, on this machine as busy as it is"
    )
    return [("skew_ms", _deviation(skew.reshape(-1)), how)]


def _member(rank: int, directory: str, results: Any) -> None:
    import torch  # noqa: PLC0415 - the other source needs none
    import torch.distributed as dist  # noqa: PLC0415

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=PROCESSES)
    data, ends = torch.ones(FLOATS), []
    for _ in range(ROUNDS):
        dist.all_reduce(data)
        data.fill_(1.0)
        ends.append(time.monotonic_ns())
    results.put((rank, np.array(ends)))
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
