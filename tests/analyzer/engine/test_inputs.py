"""How long ranks wait for their input."""

import numpy as np

from offbeat.analyzer.engine.inputs import Inputs

SECOND = 1_000_000_000


def test_shares_of_time():
    """What each rank waited, as a share of the time asked for; who did not wait has none."""
    inputs = Inputs()
    began = np.array([1.0, 1.5, 2.0]) * SECOND
    inputs.take(np.array([0, 2, 2]), began.astype(int), (began + 0.25 * SECOND).astype(int))
    assert inputs.shares(1 * SECOND, 3 * SECOND).tolist() == [0.125, 0, 0.25]


def test_what_is_old_is_gone():
    """Waits of a minute ago do not count for now, and before any were told there is no answer."""
    inputs = Inputs()
    assert inputs.shares(0, SECOND) is None
    inputs.take(np.array([0]), np.array([SECOND]), np.array([2 * SECOND]))
    later = 66 * SECOND
    inputs.take(np.array([1]), np.array([later]), np.array([later + SECOND // 2]))
    assert inputs.shares(later, later + SECOND).tolist() == [0, 0.5]
