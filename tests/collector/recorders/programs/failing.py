"""End in the midst of communication, in the way the argument names."""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import offbeat

if os.environ["RECORDED"] == "1":
    offbeat.record()
dist.init_process_group("gloo")
rank = dist.get_rank()
dist.barrier()
way = sys.argv[1]


class Fails(nn.Module):
    """Raises in the backward of rank 0, when the buckets of the layers behind it are on their way."""

    def forward(self, x):
        """Pass, with a hook on the gradient."""
        if rank == 0:
            x.register_hook(self.fail)
        return x

    def fail(self, _):
        """Fail."""
        raise ValueError("in backward")


def launch(count):
    """Launch operations that nobody waits for."""
    return [dist.all_reduce(torch.ones(4), async_op=True) for _ in range(count)]


if way == "exit":  # rank 0 leaves operations in flight and says why it goes
    if rank == 0:
        works = launch(5)
        sys.exit(3)
    time.sleep(1)
elif way == "unwaited":  # rank 0 is done before its operations are
    if rank == 0:
        works = launch(5)
    else:
        time.sleep(0.5)
        for _ in range(5):
            dist.all_reduce(torch.ones(4))
elif way == "killed":
    if rank == 1:
        dist.all_reduce(torch.ones(4))
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(3):
        dist.all_reduce(torch.ones(4))
elif way == "backward":
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), Fails(), nn.Linear(64, 64)), bucket_cap_mb=0.001)
    if rank == 1:
        time.sleep(1)
    model(torch.ones(2, 64)).sum().backward()
elif way == "stuck":  # rank 1 never comes
    dist.all_reduce(torch.ones(4))
    if rank == 1:
        time.sleep(300)
    works = launch(2)
    dist.broadcast(torch.ones(5), 0)
