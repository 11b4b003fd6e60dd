"""A small deterministic training job that can be killed at any moment and started again.

`python train_process.py STEPS [PAUSE]`: a line for each step with a digest of all its state. WRAP says what it is made
of: nothing (arrays, and no torch), `torch`, or `ddp` and `fsdp` under a launcher's variables. It waits PAUSE seconds a
step. With SNAPSHOTS=0 it takes no snapshots.
"""
# ruff: noqa: NPY002 - the global generator of numpy is part of what must come back

import hashlib
import os
import random
import sys
import time

import numpy as np

import offbeat


def say(line):
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Arrays:
    """Gradient descent in numpy; all of its state is one pytree."""

    def __init__(self):
        moments = [np.zeros((24, 8)), np.zeros((24, 8), np.float32)]
        self.state = {"w": np.ones((24, 8)), "moments": moments, "rate": 0.01}

    def snapshotter(self):
        return offbeat.Snapshotter(self.state, chunk=4096)

    def train(self):
        w, (first, second) = self.state["w"], self.state["moments"]
        x = np.random.randn(16, 24) * random.random()
        gradient = x.T @ (x @ w - x[:, :8])
        first += 0.1 * (gradient - first)
        second += 0.1 * (gradient**2 - second)
        w -= self.state["rate"] * first / (np.sqrt(second) + 1e-8)
        self.state["rate"] *= 0.999
        return float((w**2).mean())

    def bytes(self):
        yield from (array.tobytes() for array in (self.state["w"], *self.state["moments"]))
        yield repr(self.state["rate"]).encode()


class Torch:
    """A model with what is easily forgotten: batch statistics, dropout, a frozen part, a scheduler."""

    def __init__(self, wrap):
        import torch  # noqa: PLC0415 - the other job runs without it
        import torch.distributed as dist  # noqa: PLC0415 - as above

        self.torch = torch
        torch.set_num_threads(1)
        if "RANK" in os.environ:
            dist.init_process_group("gloo")
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(0)
        self.model = self.wrapped(wrap)
        torch.manual_seed(self.rank)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.9)

    def wrapped(self, wrap):
        nn = self.torch.nn
        model = nn.Sequential(nn.Linear(24, 37), nn.BatchNorm1d(37), nn.Dropout(0.2), nn.ReLU(), nn.Linear(37, 8))
        model[0].bias.requires_grad_(False)
        if wrap == "ddp":
            # Without this DDP arranges its buckets anew after the first step, and with them the order of its sums.
            return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        if wrap == "fsdp":
            from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - takes a second

            for layer in (model[0], model[4], model):
                fully_shard(layer)
        return model

    def snapshotter(self):
        return offbeat.Snapshotter(self.model, self.optimizer, extras={"scheduler": self.scheduler}, chunk=4096)

    def train(self):
        self.optimizer.zero_grad()
        x = self.torch.randn(16, 24)
        loss = self.torch.nn.functional.mse_loss(self.model(x), x[:, :8] * random.random() + float(np.random.rand()))
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss

    def bytes(self):
        tensors = [*self.model.state_dict().values(), self.torch.get_rng_state()]
        tensors += [value for state in self.optimizer.state.values() for value in state.values()]
        for tensor in tensors:
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            yield local.detach().contiguous().view(-1).view(self.torch.uint8).numpy().tobytes()
        yield repr([self.optimizer.param_groups[0]["lr"], self.scheduler.state_dict()]).encode()


def digest(job):
    """Return a hash of a job's state and of the random generators."""
    found = hashlib.sha256()
    for part in job.bytes():
        found.update(part)
    found.update(repr([random.getstate(), np.random.get_state()[1].tobytes()]).encode())
    return found.hexdigest()[:16]


def main(steps, pause):
    """Train."""
    wrap, rank = os.environ.get("WRAP", ""), int(os.environ.get("RANK", "0"))
    random.seed(rank)
    np.random.seed(rank)
    job = Torch(wrap) if wrap else Arrays()
    snap = job.snapshotter() if os.environ.get("SNAPSHOTS") != "0" else None
    start = snap.restore() if snap else 0
    say(f"{rank} start {start}")
    for step in range(start, steps):
        loss = job.train()
        if snap:
            snap.step(step, loss=loss)
        time.sleep(pause)
        say(f"{rank} step {step} {digest(job)}")
    if snap:
        snap.wait()
        say(f"{rank} figures {snap.figures}")
        snap.close()
    if wrap in {"ddp", "fsdp"}:
        job.torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0)
