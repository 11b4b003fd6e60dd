"""Forward and backward passes that go together, or do not."""

from __future__ import annotations

import numpy as np

from offbeat.analyzer.engine.passes import KINDS, Passes

RANKS, STEPS = 8, 20


def told(forward, backward):
    """Return the correlation of passes of these lengths (steps by ranks)."""
    passes = Passes()
    step, rank = (a.reshape(-1) for a in np.indices(forward.shape))
    for kind, took in enumerate((forward, backward)):
        passes.take(np.full(len(step), kind), rank, step, took.reshape(-1).astype(np.int64))
    return passes.correlation()


def test_long_sequences_make_both_longer():
    """What is longer forward is longer backward, whoever's turn it is and however ranks differ for good."""
    random = np.random.default_rng(1)
    length = random.uniform(0.5, 1.5, (STEPS, RANKS)) * np.linspace(1e6, 3e6, RANKS)
    assert told(length, 2 * length * random.normal(1, 0.02, length.shape)) > 0.9


def test_pauses_make_one_longer():
    """What comes over a rank in one pass does not show in the other."""
    random = np.random.default_rng(1)
    forward, backward = (random.uniform(1e6, 3e6, (STEPS, RANKS)) for _ in KINDS)
    assert abs(told(forward, backward)) < 0.3


def test_without_both_nothing_is_said():
    """One kind alone, few steps or none correlate with nothing."""
    passes = Passes()
    assert passes.correlation() is None
    passes.take(np.zeros(40, int), np.arange(40) % 8, np.arange(40) // 8, np.full(40, 1000))
    assert passes.correlation() is None
