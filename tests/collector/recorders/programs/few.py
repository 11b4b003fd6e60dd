"""Make a few collectives, then fail if the second argument says so and this is the first start."""

import os
import sys

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
for _ in range(3):
    dist.all_reduce(torch.ones(2))
if sys.argv[1:] == ["once"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    raise RuntimeError("first start")
dist.destroy_process_group()
