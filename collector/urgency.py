"""When operations in flight must be told at once: from half of what their kind may last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

    from offbeat.orders import Bounds

OTHERWISE_NS = 3_000_000_000
"""Bound while none was learned: the least that the service ever judges by."""
JOBS = 64
"""Jobs whose bounds are kept, the latest given first; a host runs a few."""
_SECOND = 1_000_000_000
_NEEDED = ["job", "attempt", "comm", "started_at", "enqueued_at", "observed_at"]


class Urgency:
    """Bounds of communicators, as the service learned them."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, int], Bounds] = {}

    def learn(self, bounds: Bounds) -> None:
        """Use *bounds* for their job's attempt from now on."""
        key = bounds.job, bounds.attempt
        self._jobs.pop(key, None)
        self._jobs[key] = bounds
        while len(self._jobs) > JOBS:
            del self._jobs[next(iter(self._jobs))]

    def half_ns(self, job: str | None, attempt: int | None, comm: str) -> int:
        """Return the age, ns, from which an operation of a communicator is to be told at every poll."""
        bounds = self._jobs.get((job or "", attempt or 0))
        if bounds is None:
            return OTHERWISE_NS // 2
        return int(bounds.communicators.get(comm, bounds.otherwise) * _SECOND / 2)

    def urgent(self, collectives: pa.Table) -> bool:
        """Say whether an operation among *collectives* is in flight and past half of its bound."""
        open_ = collectives.select(_NEEDED).filter(pc.is_null(collectives.column("ended_at")))
        if not open_.num_rows:
            return False
        began = pc.coalesce(open_.column("started_at"), open_.column("enqueued_at"))
        age = pc.subtract(open_.column("observed_at"), began).fill_null(0).to_numpy()
        names = zip(*(open_.column(name).to_pylist() for name in ("job", "attempt", "comm")), strict=True)
        halves: dict[tuple[str | None, int | None, str], int] = {}
        bound = [halves.setdefault(name, self.half_ns(*name)) for name in names]
        return bool((age >= np.array(bound, np.int64)).any())
