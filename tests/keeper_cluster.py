"""Several keepers of one job in this process, over real sockets, and ranks that write states known beforehand."""

import base64
import contextlib
import json
import os
from pathlib import Path

import numpy as np
from keeper_processes import free_port

from offbeat.recovery.memory import slot
from offbeat.recovery.memory.client import KeeperClient, Slots
from offbeat.recovery.memory.epoch import DATA, Seal
from offbeat.recovery.memory.keeper import Keeper

CHUNK = 4096
SECRET = base64.b64encode(b"0123456789abcdef").decode()


def content(rank, step, generation=0):
    """Return the state of a rank after a step: random bytes of a length of its own."""
    random = np.random.default_rng([rank, step, generation])
    return random.integers(0, 256, CHUNK * (3 + 2 * (rank % 3)) + 17 * rank + 1, np.uint8)


class Cluster:
    """Hosts h0, h1, … with some ranks each."""

    def __init__(self, directory, hosts, k, m, ranks_each=1, slots=3):
        """Start a keeper for each host."""
        self.directory, self.k, self.m, self.slots = Path(directory), k, m, slots
        self.ranks = {f"h{h}": [h * ranks_each + r for r in range(ranks_each)] for h in range(hosts)}
        self.ports = {host: free_port() for host in self.ranks}
        self.keepers, self.clients, self.open = {}, {}, {}
        self.generation = 0
        self.write_rosters()
        for host in self.ranks:
            self.start(host)

    @property
    def world(self):
        """How many ranks there are."""
        return sum(map(len, self.ranks.values()))

    def home(self, rank):
        """Return the host that a rank is on."""
        return next(host for host, ranks in self.ranks.items() if rank in ranks)

    def write_rosters(self):
        """Give the present roster to every host, spares too."""
        hosts = [
            {"name": host, "address": f"127.0.0.1:{self.ports[host]}", "ranks": ranks}
            for host, ranks in self.ranks.items()
        ]
        text = {"schema": "offbeat.roster/1", "job": "job", "secret": SECRET, "k": self.k, "m": self.m, "hosts": hosts}
        for host in self.ports:
            path = self.directory / f"rosters-{host}" / "job.json"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(json.dumps(text))
            path.chmod(0o600)

    def start(self, host):
        """Start the keeper of a host, with what it held."""
        self.keepers[host] = Keeper(
            self.directory / host, host, memory=1 << 28, slots=self.slots, rosters=self.directory / f"rosters-{host}",
            commit_seconds=0.01,
        )  # fmt: skip
        self.keepers[host].start()
        self.clients[host] = KeeperClient(self.directory / host)

    def stop(self, host):
        """End the keeper of a host; its memory stays."""
        self.clients.pop(host).close()
        self.keepers.pop(host).close()
        for key in [key for key in self.open if key[0] == host]:
            self.open.pop(key).close()

    def lose(self, host, spare):
        """Lose a host with its memory; its ranks are on *spare* from now on, which becomes known to all."""
        self.stop(host)
        ranks = self.ranks.pop(host)
        self.ports[spare] = free_port()
        self.ranks[spare] = ranks
        self.write_rosters()
        self.start(spare)
        for keeper in self.keepers.values():
            keeper.network.refresh()

    def begin(self):
        """Start the job anew; return the epoch to resume from and what was missing."""
        found = self.clients[self.home(0)].call("begin", job="job", world=self.world, seconds=60)
        self.generation = found["generation"]
        return (found["epoch"] and tuple(found["epoch"])), found["missing"]

    def seal(self, step, ranks=None):
        """Have ranks take their snapshot of a step; those that get no slot skip it. Return who sealed."""
        done = []
        for rank in range(self.world) if ranks is None else ranks:
            state = content(rank, step, self.generation)
            client, us = self.clients[self.home(rank)], {"job": "job", "rank": rank, "generation": self.generation}
            slots = self.open.get((self.home(rank), rank, self.generation))
            if slots is None:
                paths = client.call("open", nbytes=state.nbytes, chunk=CHUNK, **us)["slots"]
                slots = self.open[self.home(rank), rank, self.generation] = Slots(paths, state.nbytes)
            with contextlib.suppress(Exception):
                target = slots[client.call("grant", held=slots.held(), **us)["slot"]]
                target.begin()
                target.data[: state.nbytes] = state
                seal = Seal("job", DATA, rank, self.world, self.generation, step, state.nbytes, "ab" * 32, 0, 0)
                target.seal(seal, slot.checksums(state, CHUNK))
                client.call("sealed", figures={}, **us)
                done.append(rank)
        return done

    def advance(self):
        """Commit what can be committed; return the epoch."""
        keeper = self.keepers[self.home(0)]
        return keeper.network.leader("job").advance("job", self.generation)

    def check(self, epoch):
        """Assert that every rank finds its exact state of an epoch on its own host."""
        for rank in range(self.world):
            found = self.clients[self.home(rank)].call("state", job="job", rank=rank, epoch=epoch)
            descriptor, held = slot.open_slot(Path(found["path"]), writable=False)
            os.close(descriptor)
            expected = content(rank, epoch[1], epoch[0])
            assert held.data[: expected.nbytes].tobytes() == expected.tobytes(), f"rank {rank} of {epoch}"

    def close(self):
        """End all keepers."""
        for host in list(self.keepers):
            self.stop(host)
