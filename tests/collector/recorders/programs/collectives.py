"""Every operation of torch.distributed once, through its public functions, then a second process group."""

import contextlib
import os
import time
import warnings

import torch
import torch.distributed as dist

import offbeat

warnings.simplefilter("ignore")
if os.environ["RECORDED"] == "before":
    offbeat.record()

dist.init_process_group("gloo")
if os.environ["RECORDED"] == "after":
    offbeat.record()
offbeat.record()
rank, world = dist.get_rank(), dist.get_world_size()
x = torch.ones(6)


def parts():
    return [torch.zeros(6) for _ in range(world)]


dist.all_reduce(x)
dist.all_reduce(x.double(), async_op=True).wait()
dist.broadcast(x, 1)
dist.reduce(x, 1)
dist.all_gather(parts(), x)
dist.all_gather_into_tensor(torch.zeros(6 * world), x)
dist.gather(x, parts() if rank == 0 else None, dst=0)
dist.scatter(x, parts() if rank == 1 else None, src=1)
dist.reduce_scatter(torch.zeros(6), parts())
dist.reduce_scatter_tensor(torch.zeros(6), torch.zeros(6 * world))
dist.all_to_all_single(torch.zeros(6), torch.zeros(6))
dist.barrier()
dist.monitored_barrier()
with dist.distributed_c10d._coalescing_manager():
    dist.all_reduce(torch.ones(2))
    dist.all_reduce(torch.ones(3))
dist.broadcast_object_list([None], 0)

peer = 1 - rank
if rank == 0:
    dist.send(x, 1)
    dist.recv(x, 1)
else:
    dist.recv(x, 0)
    dist.send(x, 0)
works = dist.batch_isend_irecv([dist.P2POp(dist.isend, x, peer), dist.P2POp(dist.irecv, torch.zeros(6), peer)])
for work in works:
    work.wait()
dropped = dist.isend(torch.zeros(1), peer, tag=9)
dist.recv(torch.zeros(1), peer, tag=9)
dist.barrier()  # a send that is dropped earlier is never sent
del dropped

pair = dist.new_group([0, 1])
only = dist.new_group([1])
dist.all_reduce(x, group=pair)
if rank == 1:
    dist.all_reduce(x, group=only)
with contextlib.suppress(TypeError):
    dist.distributed_c10d._get_default_group().allreduce("no tensor")
dist.all_reduce(x)
with offbeat.phase("eval"):
    pass
time.sleep(1.3)  # one second of samples
dist.destroy_process_group()
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{os.environ['SECOND_PORT']}", rank=rank, world_size=world)
dist.all_reduce(x)
dist.destroy_process_group()
