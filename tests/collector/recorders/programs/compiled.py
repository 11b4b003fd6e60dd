"""Train compiled models under DistributedDataParallel, and call functional collectives in and out of a graph."""

import json
import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import _functional_collectives as functional
from torch.nn.parallel import DistributedDataParallel

import offbeat

warnings.simplefilter("ignore")
if os.environ["RECORDED"] == "1":
    offbeat.record()
dist.init_process_group("gloo")
if os.environ["RECORDED"] == "late":
    model = DistributedDataParallel(nn.Linear(4, 4))
    offbeat.record()
    model(torch.ones(1, 4)).sum().backward()
    dist.destroy_process_group()
    sys.exit()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))


def train(model):
    """Return what three steps leave in the gradients."""
    for _ in range(3):
        net.zero_grad()
        model(torch.ones(2, 8) * (dist.get_rank() + 1)).sum().backward()
    return [parameter.grad.sum().item() for parameter in net.parameters()]


def add(x):
    """Sum over all ranks."""
    return functional.all_reduce(x, "sum", dist.group.WORLD) + 1


results = {"outside": train(torch.compile(DistributedDataParallel(net), backend="eager"))}
torch._dynamo.reset()
results["inside"] = train(DistributedDataParallel(torch.compile(net, backend="eager")))
results["eager"] = add(torch.ones(2)).tolist()
results["graph"] = torch.compile(add, backend="aot_eager", fullgraph=True)(torch.ones(2)).tolist()
sys.stdout.write("RESULTS " + json.dumps(results) + "\n")
dist.destroy_process_group()
