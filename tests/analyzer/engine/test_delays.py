"""The delay matrix: what is usual for an edge, and what must not become it."""

from __future__ import annotations

import numpy as np
import pytest

from offbeat.analyzer.engine.delays import SECOND, Delays
from offbeat.records import build

EDGES = 20
START = 1_800_000_000


class Network:
    """Edges that move a megabyte ten times a second, some slower than others."""

    def __init__(self):
        self.delays, self.second, self.random = Delays(), START, np.random.default_rng(1)
        self.times = np.ones(EDGES)

    def run(self, seconds):
        for _ in range(seconds):
            edge = np.tile(np.arange(EDGES), 10)
            wire = 1e6 * self.times[edge] * self.random.normal(1, 0.05, len(edge))
            ended = self.second * SECOND + np.repeat(np.arange(10), EDGES) * SECOND // 10
            columns = {"src": edge, "dst": edge + 100, "nbytes": np.full(len(edge), 1_000_000)}
            times = {"started_at": ended - wire.astype(np.int64), "ended_at": ended, "wire_ns": wire.astype(np.int64)}
            n = len(edge)
            keys = {
                "job": ["j"] * n,
                "attempt": [0] * n,
                "comm": ["c"] * n,
                "seq": np.zeros(n, int),
                "channel": [0] * n,
            }
            self.delays.take(build("transfers", {**keys, **columns, **times, "side": ["send"] * n}))
            self.second += 1

    def learn(self, stretches, seconds=5):
        for _ in range(stretches):
            self.run(seconds)
            self.delays.learn(seconds)

    def ratio(self, seconds=4):
        usual, error = self.delays.normal(seconds)
        return self.delays.now(seconds) / usual, error


def test_a_fault_that_nobody_suspects_yet_does_not_become_usual():
    """The newest stretches are held back, and what they hold does not make the edge look unsteady either."""
    network = Network()
    network.learn(4)
    network.times[3] = 1.3
    network.learn(1)
    network.run(4)
    ratio, error = network.ratio()
    assert ratio[3] == pytest.approx(1.3, abs=0.06)
    assert error[3] < 0.05


def test_what_creeps_is_measured_from_the_oldest_stretches():
    """An edge that gets slower by one per cent each stretch is far from what it was, and the others are not."""
    network = Network()
    network.learn(8)
    for _ in range(30):
        network.times[5] *= 1.01
        network.learn(1)
    ratio, error = network.ratio()
    assert ratio[5] > 1 + max(0.2, 5 * error[5])
    assert np.abs(np.delete(ratio, 5) - 1).max() < 0.1


def test_what_is_held_back_goes_when_something_is_wrong():
    """After a doubt the newest stretches are forgotten; what was settled stays."""
    network = Network()
    network.learn(6)
    network.times[3] = 2.0
    network.learn(1)
    network.delays.doubt()
    network.times[3] = 1.0
    network.learn(6)
    assert network.ratio()[0][3] == pytest.approx(1.0, abs=0.06)
