"""The snapshotter: what it saves is the state after a step, whatever happens meanwhile, and training never suffers."""

import os
import random
import threading
import time

import numpy as np
import pytest
import torch
from support import wait_until

import offbeat
from offbeat.recovery.memory import copier
from offbeat.recovery.memory.arrays import bytes_of
from offbeat.recovery.memory.capture import RestoreError
from offbeat.recovery.memory.keeper import Keeper

CHUNK = 4096


@pytest.fixture
def keeper(memory, monkeypatch):
    """Give a keeper in this process, that trainers of job `job` find."""
    monkeypatch.setenv("OFFBEAT_JOB", "job")
    monkeypatch.setenv("OFFBEAT_KEEPER_DIR", str(memory / "k"))
    found = Keeper(memory / "k", "a", memory=1 << 28, commit_seconds=0.01)
    found.start()
    yield found
    found.close()


@pytest.fixture
def snapshotter(keeper):
    """Give a function that makes snapshotters, closed after the test."""
    made = []

    def make(*arguments, **settings):
        made.append(offbeat.Snapshotter(*arguments, chunk=CHUNK, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def parts(seed=0, kind=torch.optim.AdamW):
    """Return a model with batch statistics and its optimizer."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(40, 50), torch.nn.BatchNorm1d(50), torch.nn.Linear(50, 3))
    return model, kind(model.parameters(), lr=0.1)


def train(model, optimizer):
    """Make one step."""
    optimizer.zero_grad()
    model(torch.randn(8, model[0].in_features)).square().mean().backward()
    optimizer.step()


def state_of(model, optimizer):
    """Return the bytes of everything that training changes."""
    tensors = list(model.state_dict().values()) + [v for s in optimizer.state.values() for v in s.values()]
    return [bytes_of(tensor).tobytes() for tensor in tensors]


def test_the_state_after_the_step_is_what_is_saved(snapshotter, monkeypatch):
    """The optimizer's next step waits for the copy, however slow it is; what forward changes was copied before."""
    model, optimizer = parts()
    snap = snapshotter(model, optimizer)
    train(model, optimizer)
    snap.step(0)
    snap.wait()
    real, begun = copier.copy, threading.Event()

    def slow(*arguments):
        begun.set()
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(copier, "copy", slow)
    train(model, optimizer)
    saved = state_of(model, optimizer)
    snap.step(1)
    assert begun.wait(20)
    train(model, optimizer)  # changes statistics at once, parameters only when the copy is done
    assert snap.figures.stall_seconds > 0
    assert snap.figures.voided == 0
    snap.wait()
    other = parts(1)
    assert snapshotter(*other).restore() == 2
    assert state_of(*other) == saved


def test_training_goes_on_as_if_never_interrupted(snapshotter):
    """From the restored state the same steps follow: random generators, schedulers and momentum came back."""
    model, optimizer = parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    extras = {"scheduler": scheduler, "loader": {"position": 3, "order": np.arange(4)}}
    snap = snapshotter(model, optimizer, extras=extras)
    for step in range(3):
        train(model, optimizer)
        scheduler.step()
        extras["loader"]["position"] = 7 + step
        snap.step(step, loss=torch.tensor(1.5, requires_grad=True))
    snap.wait()
    expected = []
    for _ in range(3):
        train(model, optimizer)
        expected.append((random.random(), np.random.rand(), state_of(model, optimizer)))  # noqa: NPY002 - the global one
    other = parts(1)
    loader = {"position": 0, "order": np.zeros(4, np.int64)}
    again = snapshotter(
        *other, extras={"scheduler": torch.optim.lr_scheduler.StepLR(other[1], 2, 0.5), "loader": loader}
    )
    assert again.restore() == 3
    assert loader["position"] == 9
    assert loader["order"].tolist() == [0, 1, 2, 3]
    assert other[1].param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for wanted in expected:
        train(*other)
        assert (random.random(), np.random.rand(), state_of(*other)) == wanted  # noqa: NPY002 - as above


def test_a_change_that_no_hook_announces_voids_the_snapshot(snapshotter, monkeypatch):
    """A tensor that moves under the copy is noticed by its version; the step before stays."""
    model, optimizer = parts()
    snap = snapshotter(model, optimizer)
    train(model, optimizer)
    snap.step(0)
    snap.wait()
    real = copier.copy

    def raced(*arguments):
        with torch.no_grad():
            model[0].weight.add_(1)
        return real(*arguments)

    monkeypatch.setattr(copier, "copy", raced)
    snap.step(1)
    snap.wait()
    assert (snap.figures.voided, snap.figures.taken) == (1, 1)
    assert snapshotter(*parts(1)).restore() == 1


class Precise(torch.optim.Optimizer):
    """An optimizer that keeps float32 beside bfloat16 parameters, as mixed-precision ones do."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            kept = self.state[parameter].setdefault("master", parameter.float())
            kept.sub_(self.param_groups[0]["lr"] * parameter.grad.float())
            parameter.copy_(kept)


def test_types_of_the_optimizers_tensors_are_kept(snapshotter):
    """Float32 state beside bfloat16 parameters comes back as float32, where torch itself would round it."""
    model = torch.nn.Sequential(torch.nn.Linear(40, 50)).bfloat16()
    optimizer = Precise(model.parameters(), lr=0.1)
    snap = snapshotter(model, optimizer)
    model(torch.randn(8, 40, dtype=torch.bfloat16)).square().mean().backward()
    optimizer.step()
    snap.step(0)
    snap.wait()
    other = torch.nn.Sequential(torch.nn.Linear(40, 50)).bfloat16()
    fresh = Precise(other.parameters(), lr=0.1)
    assert snapshotter(other, fresh).restore() == 1
    assert state_of(other, fresh) == state_of(model, optimizer)
    assert {s["master"].dtype for s in fresh.state.values()} == {torch.float32}


def test_any_pytree_is_saved_within_the_step(snapshotter):
    """Without an optimizer to hook nothing is copied later, and arrays that are replaced are found again."""
    state = {"w": np.arange(6.0), "nested": [torch.ones(3), (1, "a")], "n": 4}
    snap = snapshotter(state)
    snap.step(0)
    state["w"] = state["w"] * 2
    state["n"] = 5
    snap.step(1)
    state["w"] += 100
    state["nested"][0].zero_()
    snap.wait()
    fresh = {"w": np.zeros(6), "nested": [torch.zeros(3), (1, "a")], "n": 0}
    assert snapshotter(fresh).restore() == 2
    assert fresh["w"].tolist() == [0, 2, 4, 6, 8, 10]
    assert fresh["nested"][0].tolist() == [1, 1, 1]
    assert fresh["n"] == 5


def test_a_pytree_may_have_an_optimizer(snapshotter):
    """Parameters without a module are saved with the state of their optimizer."""

    def make():
        weight = torch.ones(5, requires_grad=True)
        return {"w": weight}, torch.optim.Adam([weight], lr=0.1)

    state, optimizer = make()
    snap = snapshotter(state, optimizer)
    state["w"].square().sum().backward()
    optimizer.step()
    snap.step(0)
    optimizer.step()  # changes nothing that was saved
    snap.wait()
    fresh, other = make()
    assert snapshotter(fresh, other).restore() == 1
    fresh["w"].grad = state["w"].grad.clone()
    other.step()
    assert torch.equal(fresh["w"], state["w"])


def test_a_state_that_changes_its_shape_is_laid_out_anew(snapshotter):
    """A parameter group that is added later is saved too."""
    model, optimizer = parts(kind=torch.optim.SGD)
    snap = snapshotter(model, optimizer)
    train(model, optimizer)
    snap.step(0)
    snap.wait()
    model.append(torch.nn.Linear(3, 300))
    optimizer.add_param_group({"params": model[3].parameters(), "momentum": 0.9})
    train(model, optimizer)
    snap.step(1)
    snap.wait()
    assert snap.figures.skipped == {}
    other, fresh = parts(1, torch.optim.SGD)
    other.append(torch.nn.Linear(3, 300))
    fresh.add_param_group({"params": other[3].parameters()})
    assert snapshotter(other, fresh).restore() == 2
    assert state_of(other, fresh) == state_of(model, optimizer)
    assert fresh.param_groups[1]["momentum"] == 0.9


def test_no_slot_is_a_skipped_snapshot(keeper, snapshotter):
    """Where every slot holds what must stay, the step goes on and the reason is counted."""
    keeper.sealed = lambda _: None  # so that nothing is committed meanwhile
    model, optimizer = parts()
    snap = snapshotter(model, optimizer)
    for step in range(3):
        train(model, optimizer)
        snap.step(step)
        snap.wait()
    job = keeper.vault.job("job")
    for seal in job.inventory():
        job.protect(job.state.generation, seal.epoch)
    snap.step(3)
    snap.wait()
    assert list(snap.figures.skipped) == ["every slot holds an epoch that must stay until a newer one is committed"]
    assert snap.figures.taken == 3


def test_too_little_memory_is_said_with_the_sum(memory, snapshotter, caplog):
    """A state that does not fit is refused before anything is written, once, with the arithmetic."""
    snap = snapshotter({"w": np.zeros(1 << 27, np.uint8)})
    for step in range(2):
        snap.step(step)
        snap.wait()
    (reason,) = snap.figures.skipped
    assert "3 x 128.2 MiB = 384.5 MiB" in reason
    assert "of 256.0 MiB" in reason
    assert snap.figures.skipped[reason] == 2
    assert caplog.text.count("a snapshot was skipped") == 1


def test_without_a_keeper_nothing_happens(memory, monkeypatch, caplog):
    """No keeper: one warning, and every call is a no-op."""
    monkeypatch.setenv("OFFBEAT_KEEPER_DIR", str(memory / "nobody"))
    snap = offbeat.Snapshotter(*parts())
    assert snap.restore() == 0
    snap.step(0)
    snap.step(1)
    snap.wait()
    snap.close()
    assert caplog.text.count("no snapshots are taken: no keeper answers") == 1
    assert snap.figures.taken == 0


def test_ranks_without_a_process_group_are_told(keeper, monkeypatch):
    """One of several ranks cannot decide alone: restoring before `init_process_group` is an error, stepping is not."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    snap = offbeat.Snapshotter(*parts())
    with pytest.raises(RestoreError, match="not initialized yet"):
        snap.restore()
    snap.step(0)
    snap.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m[2].register_parameter("extra", torch.nn.Parameter(torch.zeros(1))),
            "saved were .*here are 2.extra",
        ),
        (
            lambda m: m.__setitem__(2, torch.nn.Linear(50, 4)),
            "state/2.bias: the saved shape is .3,., the program's",
        ),
        (lambda m: m.double(), "state/0.bias: the saved type is torch.float32, the program's is torch.float64"),
    ],
)
def test_what_does_not_fit_is_named(snapshotter, change, message):
    """A changed model is refused with the name of the first entry that differs."""
    model, optimizer = parts()
    snap = snapshotter(model, optimizer)
    train(model, optimizer)
    snap.step(0)
    snap.wait()
    other, _ = parts()
    change(other)
    with pytest.raises(RestoreError, match=message):
        snapshotter(other, torch.optim.AdamW(other.parameters())).restore()


def test_damage_between_the_decision_and_the_reading_is_found(keeper, snapshotter, monkeypatch):
    """A bit that flips after the keeper has looked is found by the trainer itself, and the restore is an error."""
    model, optimizer = parts()
    snap = snapshotter(model, optimizer)
    train(model, optimizer)
    snap.step(0)
    snap.wait()
    again = snapshotter(*parts(1))
    real = again._client.call

    def call(name, **fields):
        found = real(name, **fields)
        if name == "state":
            room = next(r for r in keeper.vault.job("job").rooms.values() if r.seal())
            room.slot.data[room.seal().nbytes - CHUNK] ^= 4
        return found

    monkeypatch.setattr(again._client, "call", call)
    with pytest.raises(RestoreError, match="damaged"):
        again.restore()


def test_a_forked_child_takes_no_snapshots(snapshotter):
    """A data loader's worker that inherits the snapshotter does nothing with it."""
    snap = snapshotter({"w": np.zeros(4)})
    snap.step(0)
    snap.wait()
    child = os.fork()
    if child == 0:
        snap.step(1)
        snap.close()
        os._exit(0 if snap.figures.taken == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    snap.step(2)
    snap.wait()
    assert snap.figures.taken == 2


def test_what_cannot_be_saved_is_named_at_once(keeper):
    """The constructor says which leaf it is, before training begins."""
    with pytest.raises(ValueError, match="extras/loader: a object cannot be kept"):
        offbeat.Snapshotter(*parts(), extras={"loader": object()})


def test_a_forgotten_job_begins_anew(keeper, snapshotter):
    """When a person gives the memory of a running job back, one snapshot is missed and the next ones are taken."""
    snap = snapshotter({"w": np.zeros(4)})
    for step in range(4):
        snap.step(step)
        snap.wait()
        if step == 1:
            keeper.vault.forget("job")
    assert snap.figures.skipped == {"nothing of job job is here": 1}
    assert snap.figures.taken == 3
    assert snapshotter({"w": np.zeros(4)}).restore() == 4


def test_figures_reach_the_keeper(keeper, snapshotter):
    """Step, loss, stall and copy of each rank can be read where the state is."""
    snap = snapshotter({"w": np.zeros(4)})
    snap.step(8, loss=0.25)
    told = wait_until(lambda: snap._client.call("epochs", job="job")["jobs"][0]["ranks"].get("0"))
    assert (told["step"], told["loss"], told["taken"]) == (8, 0.25, 1)


def test_steps_between_are_left_out(snapshotter):
    """`every` takes each so many steps."""
    snap = snapshotter({"w": np.zeros(4)}, every=3)
    for step in range(7):
        snap.step(step)
        snap.wait()
    assert snap.figures.taken == 3
    assert snap.figures.last_step == 6
