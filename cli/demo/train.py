"""The demo's training job: a small model, data-parallel over gloo, one process a rank.

An ordinary script: it knows nothing of Offbeat and reads only what torchrun would set (RANK, WORLD_SIZE, MASTER_ADDR,
MASTER_PORT). Two things are there for the demo's sake. The time that an accelerator would compute is slept, as the
host sleeps then, so that eight ranks fit on two cores; and a file named by `--control` may say by what factor that
time is longer on this rank, as a GPU that lost its clock would make it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

FORWARD_SECONDS = 0.012
"""What an accelerator would take for one block's forward; its backward takes twice that."""


class Throttle:
    """By what factor this rank computes slower: the number in a file, 1 where there is none."""

    def __init__(self, path: Path | None) -> None:
        self.factor = 1.0
        self._path = path
        self._seen = 0

    def look(self) -> None:
        """Read the file again if it was written since."""
        try:
            written = self._path.stat().st_mtime_ns if self._path else 0
            if self._path and written != self._seen:
                self._seen, self.factor = written, float(self._path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            self.factor = 1.0


class _Compute(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed, so its classes are Any
    @staticmethod
    def forward(context: torch.Any, x: torch.Tensor, throttle: Throttle) -> torch.Tensor:
        context.throttle = throttle
        time.sleep(FORWARD_SECONDS * throttle.factor)
        return x.view_as(x)

    @staticmethod
    def backward(context: torch.Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        time.sleep(2 * FORWARD_SECONDS * context.throttle.factor)
        return gradient, None


class Block(nn.Module):  # type: ignore[misc]  # see above
    """Two linear layers with a residual, and the time that they would take on an accelerator."""

    def __init__(self, width: int, throttle: Throttle) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.throttle = throttle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return *x* plus what the layers make of it; *x* is batch x width."""
        return x + _Compute.apply(self.layers(x), self.throttle)


def train(arguments: argparse.Namespace) -> None:
    """Train until ended, or for `--steps`."""
    rank, parent = int(os.environ["RANK"]), os.getppid()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    throttle = Throttle(arguments.control)
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(
        nn.Sequential(*[Block(arguments.width, throttle) for _ in range(arguments.blocks)]),
        bucket_cap_mb=arguments.bucket_mb,
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    data = torch.Generator().manual_seed(rank)
    step = 0
    while step != arguments.steps:
        throttle.look()
        if os.getppid() != parent:  # whoever started the job is gone, and nobody else would end it
            break
        x = torch.randn(arguments.batch, arguments.width, generator=data)
        loss = (model(x) - x.roll(1, 1)).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach()
        dist.all_reduce(mean)
        step += 1
        if rank == 0:
            sys.stdout.write(f"step {step} loss {mean.item() / dist.get_world_size():.4f} at {time.monotonic_ns()}\n")
            sys.stdout.flush()
    dist.destroy_process_group()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=Path, help="file with the factor by which this rank computes slower")
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many; below zero: never")
    parser.add_argument("--width", type=int, default=96, help="features")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="samples a rank and step")
    parser.add_argument("--bucket-mb", type=float, default=0.3, help="size of DDP's gradient buckets")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
