"""How long transfers take: rings between hosts, links inside one, and what a slow edge does to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from offbeat.simulator.faults import Effects
    from offbeat.simulator.spec import JobSpec

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

MS = 1_000_000.0
INSIDE = 8.0
"""How many times as fast ranks of one host exchange data."""
LATENCY_NS = 8_000.0
SKEW = 0.5
"""How much of a slow edge's delay its receiver leaves later than the member before the edge."""


class Ring(NamedTuple):
    """A group's collective: time of the transfer, when members leave after its end, per-edge time on the wire; ns."""

    lasts: float
    skew: Floats
    wire: Floats


class Network:
    """The edges of a job in one step."""

    def __init__(self, spec: JobSpec, effects: Effects, random: np.random.Generator) -> None:
        """Take what faults do in this step."""
        self._spec, self._effects, self._random = spec, effects, random
        self._host = spec.host
        self._per_byte = 1 / spec.gbytes_per_second

    def factors(self, src: Ints, dst: Ints) -> tuple[Floats, Any]:
        """Return how many times as slow each edge is, and which cross hosts; infinite where one is broken."""
        e = self._effects
        crossing = self._host[src] != self._host[dst]
        factor = np.maximum(e.send[src], e.receive[dst])
        for (s, d), times in e.links.items():
            factor = np.where((src == s) & (dst == d), np.maximum(factor, times), factor)
        leaf = self._host // self._spec.hosts_per_leaf
        for number, times in e.leaf.items():
            through = (leaf[src] == number) != (leaf[dst] == number)
            factor = np.where(through, np.maximum(factor, times), factor)
        for s, d in e.broken:
            factor = np.where((src == s) & (dst == d), np.inf, factor)
        return np.where(crossing | ~np.isfinite(factor), factor, 1.0), crossing

    def edge(self, src: Ints, dst: Ints, nbytes: float | Floats) -> Floats:
        """Return how long *nbytes* take from *src* to *dst*, ns."""
        factor, crossing = self.factors(src, dst)
        per_byte = np.where(crossing, self._per_byte, self._per_byte / INSIDE)
        jitter = np.exp(self._random.normal(0, self._spec.noise.transfer, len(src)))
        return LATENCY_NS + nbytes * per_byte * factor * jitter

    def ring(self, groups: Ints, nbytes: float, passes: float) -> tuple[Floats, Floats, Floats]:
        """Return what a ring collective of each group takes.

        Args:
            groups: Members, groups by ranks in ring order.
            nbytes: Payload of one member.
            passes: How often the payload goes round: 2 for an all-reduce, 1 for half of one.

        Returns:
            Per group the length; groups by members: by how much a member leaves later, and time on the wire of the
            edge it sends on; ns.
        """
        n = groups.shape[1]
        if n == 1:
            return np.zeros(len(groups)), np.zeros(groups.shape), np.zeros(groups.shape)
        src, dst = groups.reshape(-1), np.roll(groups, -1, axis=1).reshape(-1)
        wire = (self.edge(src, dst, nbytes / n * passes * (n - 1))).reshape(groups.shape)
        lasts = wire.max(axis=1)
        # Behind a slow edge data comes late: its receiver is the last to have everything, then those after it.
        factor = self.factors(src, dst)[0].reshape(groups.shape)
        with np.errstate(invalid="ignore"):
            late = np.where(np.isfinite(factor), lasts[:, None] * SKEW * (1 - 1 / np.maximum(factor, 1)) / 4, 0)
        skew = np.zeros(groups.shape)
        for hop in range(min(n, 4)):
            skew = np.maximum(skew, np.roll(late, 1 + hop, axis=1) * (1 - hop / 4))
        noise = np.abs(self._random.normal(0, self._spec.noise.skew_ms * MS, groups.shape))
        return lasts, skew + noise, wire
