"""What the torch recorder costs a training job.

Usage: python benchmarks/recorder_overhead.py [operation | import | sampler | step] [--pairs N] [--ranks N]

operation  CPU time the recorder adds to one small all-reduce, world 1: blocks with and without it by turns
           in one process, so that only neighbours are compared. `thread`: the thread that launches; `process`: that and
           the backend's threads, where the callback of an asynchronous operation runs. Goal: 20 µs.
import     CPU time of `import offbeat; offbeat.record`, beyond numpy's. Goal: 50 ms.
sampler    CPU time of one look at the main thread's stack.
step       Step time of a DistributedDataParallel job with the recorder over that without it, in interleaved blocks of
           one process a rank: the ratio with its 95 % bootstrap interval. Goal: 1 + operations * 20 µs / step.

Without an argument all four run. A busy machine makes every figure worse, and the interval of the ratio wide.
"""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

import offbeat
from offbeat.collector.recorders.sampler import Sampler
from offbeat.collector.recorders.session import Session
from offbeat.collector.recorders.torch import pause, resume
from offbeat.collector.ring.place import ring_directory
from offbeat.collector.ring.reader import RingReader, discover
from offbeat.collector.ring.writer import RingWriter

GOAL_US = 20.0
GOAL_IMPORT_MS = 50.0
BLOCK_OPERATIONS = 200
BLOCK_STEPS = 10
MAIN = "operation", "import", "sampler", "step"


def join(rank: int, world: int, port: int) -> None:
    """Join a process group on loopback, on one thread."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quartiles(values: Sequence[float]) -> str:
    """Return the three quartiles as text."""
    return " / ".join(f"{value:.1f}" for value in statistics.quantiles(values, n=4))


def operation(pairs: int) -> None:
    """Measure the recorder's cost of one operation."""
    os.environ["OFFBEAT_SAMPLE_HZ"] = "0"
    join(0, 1, free_port())

    offbeat.record()
    tensor = torch.ones(16)

    def block(asynchronous: bool) -> tuple[float, float]:
        thread, process = time.thread_time_ns(), time.process_time_ns()
        for _ in range(BLOCK_OPERATIONS):
            work = dist.all_reduce(tensor, async_op=asynchronous)
            if asynchronous:
                work.wait()
        count = BLOCK_OPERATIONS * 1e3
        return (time.thread_time_ns() - thread) / count, (time.process_time_ns() - process) / count

    for asynchronous in (False, True):
        block(asynchronous)
        added = []
        for pair in range(pairs):
            first, second = (resume, pause) if pair % 2 else (pause, resume)
            first()
            one = block(asynchronous)
            second()
            two = block(asynchronous)
            on, off = (one, two) if pair % 2 else (two, one)
            added.append((on[0] - off[0], on[1] - off[1], off[1]))
        name = "asynchronous, with callback" if asynchronous else "synchronous"
        usual = statistics.median(base for *_, base in added)
        print(f"operation, {name}: base {usual:.1f} µs; the recorder adds, µs of CPU")
        print(f"  thread  (quartiles) {quartiles([thread for thread, *_ in added])}")
        print(
            f"  process (quartiles) {quartiles([process for _, process, _ in added])}; goal {GOAL_US:.0f}", flush=True
        )


def imports(pairs: int) -> None:
    """Measure the import beyond numpy."""
    clock = "time.process_time()"
    program = f"import time, numpy; a = {clock}; import offbeat; offbeat.record; print({clock} - a)"
    times = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout) * 1e3
        for _ in range(max(3, pairs // 10))
    ]
    print(f"import: best {min(times):.0f} ms, median {statistics.median(times):.0f} ms; goal {GOAL_IMPORT_MS:.0f} ms")


def sampler(pairs: int) -> None:
    """Measure one look at the stack of a main thread that is in a forward pass."""
    looks = []

    class Looks(torch.nn.Module):
        """Looks from within."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Look many times."""
            begun = time.thread_time_ns()
            for _ in range(BLOCK_OPERATIONS):
                looking.look()
            looks.append((time.thread_time_ns() - begun) / BLOCK_OPERATIONS / 1e3)
            return x

    ring = RingWriter()
    looking = Sampler(Session(ring), 0)
    model = torch.nn.Sequential(torch.nn.Sequential(Looks()))
    for _ in range(pairs):
        model(torch.ones(1))
    kind, where = looking.look()
    ring.close()
    ring.path.unlink()
    print(f"sampler: best {min(looks):.1f} µs, median {statistics.median(looks):.1f} µs a look ({kind}, {where})")


def step(pairs: int, ranks: int) -> None:
    """Start the ranks of a job that measures its own steps."""
    port = str(free_port())
    command = [sys.executable, __file__, "rank", "--pairs", str(pairs), "--ranks", str(ranks), "--port", port]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([*command, "--rank", str(rank)], env=environment) for rank in range(ranks)]
    for process in processes:
        if process.wait():
            sys.exit(f"a rank failed with {process.returncode}")


def one_rank(pairs: int, ranks: int, rank: int, port: int) -> None:
    """Train two copies of a model by turns: one recorded, one made and run with the recorder off."""
    join(rank, ranks, port)

    offbeat.record()

    def model() -> torch.nn.Module:
        torch.manual_seed(0)
        layers = [torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh()) for _ in range(8)]
        return torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(*layers), bucket_cap_mb=0.3)

    pause()
    models = {False: model()}  # its reducer keeps the process group it was given
    resume()
    models[True] = model()
    batch = torch.randn(64, 256)

    def block(recorded: bool) -> float:
        (resume if recorded else pause)()
        begun = time.perf_counter()
        for _ in range(BLOCK_STEPS):
            models[recorded].zero_grad()
            models[recorded](batch).pow(2).mean().backward()
        return (time.perf_counter() - begun) / BLOCK_STEPS

    for recorded in (True, False, True, False):
        block(recorded)
    times = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        both = {recorded: block(recorded) for recorded in order}
        times.append((both[True], both[False]))
    resume()
    if rank == 0:
        path = next(p for p in discover(ring_directory()) if f"-{os.getpid()}-" in p.name)
        with RingReader(path) as reader:
            reader.poll()
            block(True)
            operations = len(reader.poll().completed) / BLOCK_STEPS
        report(times, operations)
    else:
        block(True)
    dist.destroy_process_group()


def report(times: Sequence[tuple[float, float]], operations: float) -> None:
    """Print the ratio of step times and its interval."""
    dice = random.Random(0)

    def ratio(sample: Sequence[tuple[float, float]]) -> float:
        return statistics.median(on / off for on, off in sample)

    resampled = sorted(ratio(dice.choices(times, k=len(times))) for _ in range(1000))
    base = statistics.median(off for _, off in times)
    goal = 1 + operations * GOAL_US / 1e6 / base
    print(f"step: {base * 1e3:.2f} ms without, {operations:.1f} operations a step, {len(times)} pairs")
    print(f"  ratio {ratio(times):.4f} (95 % {resampled[25]:.4f} to {resampled[974]:.4f}); goal {goal:.4f}", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=[*MAIN, "rank"])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "rank":
        one_rank(options.pairs, options.ranks, options.rank, options.port)
        return
    if options.what is None:
        for what in MAIN:  # each in a process of its own: what one loads must not help another
            subprocess.run([sys.executable, __file__, what, "--pairs", str(options.pairs)], check=True)
        return
    os.environ.update(GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        os.environ["OFFBEAT_RING_DIR"] = directory
        {
            "operation": lambda: operation(options.pairs),
            "import": lambda: imports(options.pairs),
            "sampler": lambda: sampler(options.pairs),
            "step": lambda: step(options.pairs, options.ranks),
        }[options.what]()


if __name__ == "__main__":
    main()
