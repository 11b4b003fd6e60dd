"""The vault: what is promised stays, across keepers; what does not fit is refused with the sum."""

import os
from pathlib import Path

import numpy as np
import pytest

from offbeat.recovery.memory import slot
from offbeat.recovery.memory.budget import Budget, BudgetError, limit
from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch, Seal
from offbeat.recovery.memory.grants import Held, NoSlotError, choose
from offbeat.recovery.memory.job import AbsentError, StaleError
from offbeat.recovery.memory.vault import Vault, VaultError

CHUNK = 4096
A, B, C = Epoch(1, 10), Epoch(1, 20), Epoch(1, 30)


@pytest.fixture
def vault(tmp_path):
    """Give a vault of 1 MiB with two slots a rank."""
    with_room = Vault(tmp_path / "keeper", Budget(1 << 20, tmp_path), slots=2)
    yield with_room
    with_room.close()


def seal(job, rank, epoch, room=None, kind=DATA):
    """Write rank's part of an epoch as its trainer does; return the slot's file name."""
    if room is None:
        room = job.grant(rank, job.state.generation, [f"rank-{rank:06d}.{n}.slot" for n in range(9)])
    content = np.full(CHUNK, epoch.step % 251, np.uint8)
    room.slot.begin()
    room.slot.data[:CHUNK] = content
    room.slot.seal(
        Seal(job.name, kind, rank, 2, epoch.generation, epoch.step, CHUNK, "00" * 32, 0, 0),
        slot.checksums(content, CHUNK),
    )
    return room.path.name


def open_job(vault, ranks=(0, 1)):
    """Return a job whose ranks have opened their slots in generation 1."""
    job = vault.begin("job", os.getuid())
    for rank in ranks:
        job.open(rank, 1, CHUNK, CHUNK)
    return job


def test_the_rules_of_granting():
    """Empty slots first, then the oldest; never protected ones, the newest whole one, or another process's."""
    held = [Held(B, False), Held(A, False), Held(None, False)]
    assert choose(held, [], None) == 2
    assert choose(held[:2], [], None) == 1
    assert choose(held[:2], [A], None) == 0
    assert choose(held[:2], [], A) == 0
    with pytest.raises(NoSlotError, match="must stay"):
        choose(held[:2], [A], B)
    with pytest.raises(NoSlotError, match="older process"):
        choose([Held(None, True)], [], None)


def test_the_newest_whole_step_is_not_overwritten(vault):
    """With two slots a third step waits until the second is committed, since nothing else is whole."""
    job = open_job(vault)
    for epoch in (A, B):
        for rank in (0, 1):
            seal(job, rank, epoch)
    assert job.whole() == B
    assert seal(job, 0, C) == "rank-000000.0.slot"  # A's
    assert job.whole() == B
    assert seal(job, 0, Epoch(1, 40)) == "rank-000000.0.slot"  # C's: rank 1 has no C, so B is what they all have
    job.protect(1, Epoch(1, 40))
    with pytest.raises(NoSlotError):
        seal(job, 0, Epoch(1, 50))


def test_protection_and_commit(vault):
    """What is protected stays; a commit lets the older one go, and one that was never protected is refused."""
    job = open_job(vault, ranks=(0,))
    for epoch in (A, B):
        seal(job, 0, epoch)
    assert job.protect(1, A) == [0]
    assert job.protect(1, B) == [0]
    with pytest.raises(NoSlotError):
        seal(job, 0, C)
    job.commit(1, B)
    assert job.state.protected == {B}
    seal(job, 0, C)
    assert {s.epoch for s in job.inventory()} == {B, C}
    with pytest.raises(AbsentError, match="not protected"):
        job.commit(1, C)
    with pytest.raises(StaleError, match="comes late"):
        job.commit(1, A)


def test_a_commit_sent_twice_does_not_break_a_newer_promise(vault):
    """The protection of an epoch on its way outlives a late copy of the older commit."""
    job = open_job(vault, ranks=(0,))
    for epoch in (A, B):
        seal(job, 0, epoch)
        job.protect(1, epoch)
        job.commit(1, A)
    assert job.state.protected == {A, B}


def test_a_superseded_generation_is_fenced(vault):
    """Once a newer generation was seen, orders of the old one do nothing, and old epochs stay readable."""
    job = open_job(vault, ranks=(0,))
    seal(job, 0, A)
    job.protect(1, A)
    assert job.admit(2)
    for order in (
        lambda: job.open(0, 1, CHUNK, CHUNK),
        lambda: job.grant(0, 1, []),
        lambda: job.protect(1, B),
        lambda: job.commit(1, A),
        lambda: job.release(1, A),
    ):
        with pytest.raises(StaleError, match="superseded"):
            order()
    assert job.find(DATA, 0, A)[1].epoch == A
    assert job.state.protected == {A}


def test_a_new_keeper_finds_everything(tmp_path):
    """Seals, promises and the highest generation outlive the keeper; partial parity does not."""
    first = Vault(tmp_path / "keeper", Budget(1 << 20, tmp_path))
    job = open_job(first, ranks=(0,))
    seal(job, 0, A)
    job.protect(1, A)
    job.commit(1, A)
    job.protect(1, B)
    seal(job, 0, A, job.for_parity(CHUNK, CHUNK), PARITY)
    other = job.for_parity(CHUNK, CHUNK)
    seal(job, 0, C, other, PARITY)  # given up: never protected
    with pytest.raises(VaultError, match="another keeper"):
        Vault(tmp_path / "keeper", Budget(1 << 20, tmp_path))
    used = first._budget.used
    first.close()
    again = Vault(tmp_path / "keeper", budget := Budget(1 << 20, tmp_path))
    job = again.job("job")
    assert (job.state.generation, job.state.committed, job.state.protected) == (1, A, {A, B})
    assert [(s.kind, s.epoch) for s in job.inventory(verified=True)] == [(PARITY, A), (DATA, A)]
    assert budget.used == used
    again.close()


def test_damage_is_found_before_serving(vault):
    """A verified inventory leaves out what no longer fits its checksums."""
    job = open_job(vault, ranks=(0,))
    seal(job, 0, A)
    room, _ = job.find(DATA, 0, A)
    assert len(job.inventory(verified=True)) == 1
    room.slot.data[5] ^= 1
    assert job.inventory(verified=True) == []
    with pytest.raises(AbsentError, match="rank 7 of step 10"):
        job.find(DATA, 7, A)


def test_too_much_is_refused_with_the_sum(vault):
    """The message says how many slots of what size, what is taken and what is left; nothing is made."""
    job = open_job(vault, ranks=(0,))
    with pytest.raises(
        BudgetError, match=r"2 x 600.0 KiB.* \+ parity 2 x 0.50 x .* of 1.0 MiB .*are taken and .* left"
    ):
        job.open(1, 1, 592 << 10, CHUNK, parity_share=0.5)
    assert [p.name for p in job._directory.glob("rank-000001*")] == []


def test_a_state_that_grew_gets_larger_slots(vault):
    """Slots that have become too small give way, except the one that must stay."""
    job = open_job(vault, ranks=(0,))
    seal(job, 0, A)
    job.protect(1, A)
    job.commit(1, A)
    rooms = job.open(0, 1, 5 * CHUNK, CHUNK)
    assert len(rooms) == 2
    assert all(room.slot.capacity == 5 * CHUNK for room in rooms)
    assert len(list(job._directory.glob("rank-*"))) == 3


def test_a_job_is_its_users_own(vault):
    """Another user than the job's, the keeper's and root is turned away."""
    if os.getuid() == 0:
        vault.begin("job", 1000)
        assert vault.begin("job", 0)
        with pytest.raises(PermissionError):
            vault.begin("job", 1001)


def test_a_forgotten_job_gives_its_memory_back(vault):
    """Nothing is left of it, in the directory or in the sum."""
    open_job(vault)
    assert vault._budget.used
    vault.forget("job")
    assert vault._budget.used == 0
    assert vault.names() == []
    assert [p.name for p in vault.directory.iterdir()] == ["lock"]


def test_a_damaged_state_stops_the_keeper(tmp_path):
    """Without the record of promises nothing may be overwritten, so the keeper says so and does not start."""
    (tmp_path / "keeper/job").mkdir(parents=True)
    (tmp_path / "keeper/job/state.json").write_text("{")
    with pytest.raises(VaultError, match=r"state\.json cannot be read"):
        Vault(tmp_path / "keeper", Budget(1 << 20, tmp_path))


def test_the_limit_is_a_share_of_what_the_cgroup_may_have(tmp_path):
    """Half of the machine's memory, or of the cgroup's where that is less."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  1048576 kB\nMemFree: 1 kB\n")
    assert limit(0.5, meminfo=meminfo, cgroup=tmp_path) == 512 << 20
    Path(tmp_path / "memory.max").write_text("max\n")
    assert limit(0.5, meminfo=meminfo, cgroup=tmp_path) == 512 << 20
    Path(tmp_path / "memory.max").write_text(f"{256 << 20}\n")
    assert limit(0.5, meminfo=meminfo, cgroup=tmp_path) == 128 << 20
