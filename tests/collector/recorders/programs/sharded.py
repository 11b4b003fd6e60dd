"""Train under FSDP2, FSDP1 and tensor parallelism; print the losses of each."""

import json
import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import offbeat

warnings.simplefilter("ignore")
if os.environ["RECORDED"] == "1":
    offbeat.record()
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.set_num_threads(1)


def net():
    """Return a small model, the same on all ranks."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))


def train(model, steps=3, *, same=False):
    """Return the losses of some steps."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(50 if same else 50 + rank)
    losses = []
    for _ in range(steps):
        loss = model(torch.randn(4, 16)).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


results = {}
mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
with offbeat.phase("fsdp2"):
    model = net()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    results["fsdp2"] = train(fully_shard(model, mesh=mesh))
with offbeat.phase("fsdp1"):
    results["fsdp1"] = train(FullyShardedDataParallel(net(), device_id=torch.device("cpu")))
with offbeat.phase("dtensor"):
    tensor = distribute_tensor(torch.arange(8.0), mesh, [Shard(0)])
    results["dtensor"] = tensor.redistribute(placements=[Replicate()]).to_local().sum().item()
with offbeat.phase("tp"):
    results["tp"] = train(parallelize_module(net(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()}), same=True)
sys.stdout.write("RESULTS " + json.dumps(results) + "\n")
dist.destroy_process_group()
