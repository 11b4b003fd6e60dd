"""The epoch protocol against every history that can be drawn: hosts lost, keepers restarted, orders lost on the way.

Real vaults, leaders, coding and rebuilds; only the network is a function call that fails when it is told to.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from offbeat.recovery.memory import slot
from offbeat.recovery.memory.budget import Budget
from offbeat.recovery.memory.director import Leader, UndecidedError
from offbeat.recovery.memory.epoch import DATA, Epoch, Seal
from offbeat.recovery.memory.grants import NoSlotError
from offbeat.recovery.memory.groups import GroupCoder
from offbeat.recovery.memory.job import StaleError
from offbeat.recovery.memory.orders import Orders
from offbeat.recovery.memory.pace import Pace
from offbeat.recovery.memory.parity import Parity
from offbeat.recovery.memory.roster import Member, Roster
from offbeat.recovery.memory.sums import Sums
from offbeat.recovery.memory.vault import Vault

CHUNK, WORLD, K, M = 64, 3, 2, 1


def content(rank, epoch):
    """Return the state of a rank at an epoch; no two are alike."""
    random = np.random.default_rng([rank, *epoch])
    return random.integers(0, 256, CHUNK * 2 + 9 * rank + 1, np.uint8)


FAULTS = st.tuples(
    st.integers(0, WORLD - 1),
    st.sampled_from(["inventory", "protect", "shards", "code", "part", "progress", "commit", "release"]),
    st.sampled_from(["before", "after", "train"]),
)


class Net:
    """Orders from a leader to keepers, some of which get lost before or after they were carried out."""

    def __init__(self, machine):
        self.machine = machine
        self.failures = {}

    def names(self):
        return list(self.machine.homes.values())

    def call(self, host, name, into=None, /, **fields):
        fault = self.failures.pop((host, name), None)
        if fault == "train":  # the job goes on while its leader decides
            for _ in range(3):
                self.machine.train(missing=None, torn=False)
        if fault == "before" or host not in self.machine.handlers:
            raise ConnectionError(f"{name} never reached {host}")
        found = self.machine.handlers[host][name](**fields)
        if fault == "after":
            raise ConnectionError(f"the answer of {host} to {name} was lost")
        return found if isinstance(found, tuple) else (found, b"")


class Protocol(RuleBasedStateMachine):
    """Three hosts with a rank each, coded 2+1."""

    @initialize(slots=st.sampled_from([2, 3]))
    def start(self, slots):
        self.directory = Path(tempfile.mkdtemp(prefix="ob-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.slots, self.spares, self.step = slots, 0, 0
        self.vaults, self.handlers = {}, {}
        self.homes = {rank: f"h{rank}" for rank in range(WORLD)}
        self.net, self.clock = Net(self), 100
        for host in self.homes.values():
            self.run(host)
        self.lost, self.floor, self.steps = 0, None, set()
        self.generation, self.old = 0, []
        self.restart()

    def run(self, host):
        vault = self.vaults[host] = Vault(self.directory / host, Budget(1 << 26, self.directory), self.slots)
        hosts_of = lambda _: self.net  # noqa: E731 - the network as each part wants it
        parts = (Orders(vault, 0), Sums(vault, hosts_of, Pace(0)), Parity(vault, hosts_of))
        self.handlers[host] = {name: call for part in parts for name, call in part.handlers().items()}

    @property
    def leader(self):
        members = tuple(Member(host, ("127.0.0.1", 1), (rank,), {}) for rank, host in self.homes.items())
        roster = Roster("job", b"", K, M, members)
        return Leader(self.net, GroupCoder(roster, self.net), lambda: self.clock)

    def job(self, rank):
        return self.vaults[self.homes[rank]].begin("job", 0)

    def write(self, rank, epoch, *, whole=True):
        """Write a rank's image as its trainer does; without *whole* it is killed before it has sealed it."""
        state, job = content(rank, epoch), self.job(rank)
        try:
            rooms = job.open(rank, epoch.generation, state.nbytes, CHUNK)
            target = job.grant(rank, epoch.generation, [room.path.name for room in rooms]).slot
        except (NoSlotError, StaleError):
            return
        target.begin()
        target.data[: state.nbytes] = state
        if whole:
            seal = Seal("job", DATA, rank, WORLD, *epoch, state.nbytes, "cd" * 32, 0, 0)
            target.seal(seal, slot.checksums(state, CHUNK))

    @rule(steps=st.integers(1, 4), missing=st.none() | st.integers(0, WORLD - 1), torn=st.booleans())
    def train_on(self, steps, missing, torn):
        """Some steps; in the last of them one rank may take no snapshot, or be killed while it writes."""
        for _ in range(steps - 1):
            self.train(missing=None, torn=False)
        self.train(missing=missing, torn=torn)

    def train(self, *, missing, torn):
        self.step += 1
        for rank in range(WORLD):
            if rank != missing:
                self.write(rank, Epoch(self.generation, self.step))
            elif torn:
                self.write(rank, Epoch(self.generation, self.step), whole=False)

    @rule(fault=st.none() | FAULTS)
    def advance(self, fault):
        """The leader codes and commits; one of its orders may be lost, or the job goes on before it is carried out."""
        self.try_to_advance(fault)

    @rule(fault=FAULTS, before=st.integers(0, 3), after=st.integers(0, 3), rank=st.integers(0, WORLD - 1))
    def interrupted(self, fault, before, after, rank):
        """A commit goes wrong, the job goes on for a while, then a host is lost and the job starts again."""
        self.try_to_advance(None)
        for _ in range(before):
            self.train(missing=None, torn=False)
        self.try_to_advance(fault)
        for _ in range(after):
            self.train(missing=None, torn=False)
        self.host_dies(rank)
        self.restart()

    def try_to_advance(self, fault):
        self.inject(fault)
        with contextlib.suppress(UndecidedError):
            epoch = self.leader.advance("job", self.generation)
            if epoch is not None:
                self.floor = epoch
        self.net.failures.clear()

    @rule()
    def progress(self):
        """When nothing goes wrong for some steps, one of them is committed, whatever happened before."""
        done = []
        for _ in range(4):
            self.train(missing=None, torn=False)
            done.append(self.leader.advance("job", self.generation))
        assert any(done)
        self.floor = max(filter(None, done))

    @precondition(lambda self: self.old)
    @rule(number=st.integers(0, 5))
    def zombie(self, number):
        """A leader and a trainer of an older generation, partitioned and back, change nothing."""
        generation = self.old[number % len(self.old)]
        with pytest.raises((StaleError, UndecidedError)):
            self.leader.advance("job", generation)
        self.write(0, Epoch(generation, self.step + 100))

    @rule(rank=st.integers(0, WORLD - 1))
    def keeper_restarts(self, rank):
        """A keeper is killed and started again."""
        host = self.homes[rank]
        self.vaults[host].close()
        self.run(host)

    @rule(rank=st.integers(0, WORLD - 1))
    def host_dies(self, rank):
        """A host is lost with its memory; a spare takes its rank, and the job has to start again."""
        host = self.homes[rank]
        self.vaults.pop(host).close()
        del self.handlers[host]
        shutil.rmtree(self.directory / host)
        self.spares += 1
        self.homes[rank] = f"spare{self.spares}"
        self.run(self.homes[rank])
        self.lost += 1

    @rule(rank=st.integers(0, WORLD - 1), bit=st.integers(0, 7), at=st.integers(0, 10**6))
    def bit_flips(self, rank, bit, at):
        """A bit of the committed image of a rank flips, as if its host's memory were lost."""
        if self.floor is None:
            return
        with contextlib.suppress(Exception):
            room, seal = self.job(rank).find(DATA, rank, self.floor)
            room.slot.data[at % seal.nbytes] ^= 1 << bit
            self.lost += 1

    @rule(
        fault=st.none()
        | st.tuples(
            st.integers(0, WORLD - 1),
            st.sampled_from(["generation", "inventory", "manifest", "protect", "rebuild", "sum", "progress", "commit"]),
            st.sampled_from(["before", "after"]),
        )
    )
    def restart_with_trouble(self, fault):
        """The job starts again while an order gets lost; it is tried again, as trainers do."""
        self.inject(fault)
        with contextlib.suppress(UndecidedError):
            self.begin()
            return
        self.net.failures.clear()
        self.restart()

    def inject(self, fault):
        self.net.failures.clear()
        if fault is not None:
            rank, name, when = fault
            self.net.failures[self.homes[rank], name] = when

    @rule()
    def restart(self):
        """The job starts again."""
        self.net.failures.clear()
        self.begin()

    def begin(self):
        self.clock += 1
        begun = self.leader.begin("job", WORLD)
        self.old.append(self.generation) if self.generation else None
        self.generation = begun.generation
        if begun.epoch is not None:
            for rank in range(WORLD):
                room, seal = self.job(rank).find(DATA, rank, begun.epoch)
                assert room.slot.damage(seal) == ""
                assert np.array_equal(room.slot.data[: seal.nbytes], content(rank, begun.epoch))
            self.step = begun.epoch.step
        elif self.floor is not None:
            assert self.lost > M, f"{self.floor} was committed, {self.lost} lost, yet: {begun.missing}"
        if self.floor is not None and self.lost <= M:
            assert begun.epoch is not None, f"{self.floor} was committed, {self.lost} lost, yet: {begun.missing}"
            assert begun.epoch >= self.floor
        # What was restored is on all hosts now, and coded again where it was coded before.
        self.floor = begun.epoch
        self.lost = 0 if begun.epoch is not None and self.coded(begun.epoch) else M

    def coded(self, epoch):
        return all(
            any(s.kind and s.epoch == epoch for s in self.job(rank).inventory(verified=True)) for rank in range(WORLD)
        )

    @invariant()
    def promises_hold(self):
        """No keeper lets go of what is committed everywhere, and none is of two minds about its generation."""
        for host in self.vaults.values():
            for name in host.names():
                state = host.job(name).state
                assert state.committed is None or state.committed in state.protected

    def teardown(self):
        for vault in getattr(self, "vaults", {}).values():
            vault.close()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


TestProtocol = pytest.mark.timeout(400)(Protocol.TestCase)
TestProtocol.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
