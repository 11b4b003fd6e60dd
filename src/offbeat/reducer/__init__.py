"""From operations to what diagnosis lives on: own times, sums over blocks of sequence numbers, thinned vectors.

The agent, the readers of dumps, the simulator and the service reduce operations by this one package, so that all of
them mean the same by a rank's own time.
"""

from __future__ import annotations

from offbeat.reducer.own import Events, OwnTimes
from offbeat.reducer.reduce import Reducer
from offbeat.reducer.restore import restore
from offbeat.reducer.vectors import expand, unfold

__all__ = ["Events", "OwnTimes", "Reducer", "expand", "restore", "unfold"]
