"""Train small models under DistributedDataParallel in many ways; print a digest of the result of each."""

import gc
import hashlib
import json
import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel

import offbeat

warnings.simplefilter("ignore")
if os.environ["RECORDED"] == "1":
    offbeat.record()
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.set_num_threads(1)


class Net(nn.Module):
    """A model with a buffer that is synchronised, a branch that may be unused, and optionally a sparse gradient."""

    def __init__(self, *, sparse=False):
        super().__init__()
        self.sparse = nn.Embedding(11, 13, sparse=True) if sparse else None
        self.body = nn.Sequential(nn.Linear(13, 17), nn.BatchNorm1d(17), nn.Tanh(), nn.Linear(17, 13))
        self.branch = nn.Linear(13, 13)

    def forward(self, x, use_branch=True):
        """Return the output for *x*."""
        if self.sparse is not None:
            x = x + self.sparse(torch.arange(len(x)) % 11)
        x = self.body(x)
        return self.branch(x) if use_branch else x


def user_hook(state, bucket):
    """Scale by 3, then reduce with a mean."""
    state.append(bucket.index())
    buffer = bucket.buffer().mul_(3.0 / world)
    return dist.all_reduce(buffer, async_op=True).get_future().then(lambda f: f.value()[0])


def digest(model):
    """Return a hash of all parameters and buffers."""
    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        state.update(name.encode() + value.numpy().tobytes())
    return state.hexdigest()


def train(
    steps=4, *, sparse=False, before=None, late=None, branch=lambda step: True, set_to_none=True, join=None, **options
):
    """Return the digest of a model trained for some steps under DistributedDataParallel with *options*."""
    torch.manual_seed(7)
    net = Net(sparse=sparse)
    model = DistributedDataParallel(net, bucket_cap_mb=0.001, **options)
    if before:
        before(model)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    torch.manual_seed(100 + rank)

    def step(number):
        optimizer.zero_grad(set_to_none=set_to_none)
        model(torch.randn(5, 13), branch(number)).pow(2).mean().backward()
        optimizer.step()

    if join is not None:
        if join["late"]:
            step(0)
        with Join([model], divide_by_initial_world_size=join["divide"]):
            for number in range(steps + rank):
                step(number)
        return digest(net)
    for number in range(steps):
        if number == 2 and late:
            late(model)
        step(number)
    return digest(net)


def plain(model):
    """Do nothing."""


def both(kind):
    """Return a registration of a built-in hook."""
    return lambda model: model._register_builtin_comm_hook(kind)


CASES = {
    "default": {},
    "views": {"gradient_as_bucket_view": True},
    "views_kept": {"gradient_as_bucket_view": True, "set_to_none": False},
    "unused": {"find_unused_parameters": True, "branch": lambda step: step % 2 == 0},
    "static": {"static_graph": True},
    "no_buffers": {"broadcast_buffers": False},
    "sparse": {"sparse": True},
    "own_hook": {"before": lambda model: model.register_comm_hook([], user_hook)},
    "late_hook": {"late": lambda model: model.register_comm_hook([], user_hook)},
    "compress": {"before": lambda model: model.register_comm_hook(None, default_hooks.fp16_compress_hook)},
    "builtin": {"before": both(dist.BuiltinCommHookType.FP16_COMPRESS)},
    "late_builtin": {"late": both(dist.BuiltinCommHookType.ALLREDUCE)},
    "join": {"join": {"late": False, "divide": True}},
    "join_late": {"join": {"late": True, "divide": True}},
    "join_late_by_active": {"join": {"late": True, "divide": False}},
}
results = {}
for case in sys.argv[1].split(","):
    with offbeat.phase(case):
        results[case] = train(**CASES[case])
if "twice" in sys.argv[2:]:
    model = DistributedDataParallel(Net())
    model(torch.zeros(2, 13)).sum().backward()
    model.register_comm_hook([], user_hook)
    try:
        model.register_comm_hook([], user_hook)
    except RuntimeError as error:
        results["twice"] = str(error)
    del model
sys.stdout.write("RESULTS " + json.dumps(results) + "\n")
# Models hold on to the process group in cycles. While it lives so do its threads, and one that lets go of its last
# operation while Python shuts down aborts the process, recorded or not (torch 2.13).
gc.collect()
dist.destroy_process_group()
