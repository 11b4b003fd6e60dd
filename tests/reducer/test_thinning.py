"""Thinning: the same operations everywhere, as many as there is room for."""

import numpy as np
import pytest

from offbeat.reducer import thinning

SEQ = np.arange(100_000)


@pytest.mark.parametrize("level", [0, 1, 4, 8])
def test_one_in_so_many_is_kept(level):
    """At level j one of 2^j is kept, spread over each stretch, and all of what a higher level keeps."""
    kept = thinning.kept(SEQ, level)
    for stretch in np.split(kept, 10):
        assert stretch.mean() == pytest.approx(2.0**-level, rel=0.35)
    assert (thinning.kept(SEQ, level + 1) <= kept).all()


@pytest.mark.parametrize("period", [2, 7, 16, 64, 100])
def test_every_place_of_a_beat_is_kept_now_and_then(period):
    """Whatever the period of the operations, no place of it is left out for good."""
    kept = SEQ[thinning.kept(SEQ, 4)]
    assert len(np.unique(kept % period)) == period


def test_level_makes_it_fit():
    """The level is the lowest at which the rate fits."""
    assert [thinning.level(rate, 64) for rate in (0, 1, 64, 65, 128, 1000, 1e12)] == [0, 0, 0, 1, 1, 4, thinning.MOST]
