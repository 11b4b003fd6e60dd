"""From operations to what diagnosis lives on: own times, sums over blocks of sequence numbers, thinned vectors.

The agent, the readers of dumps, the simulator and the service reduce operations by this one package, so that all of
them mean the same by a rank's own time.
"""

from __future__ import annotations

from offbeat.reducer.own import Events, OwnTimes

__all__ = ["Events", "OwnTimes"]
