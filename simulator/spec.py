"""What is simulated: the shape of a job and of its machines, and how unsteady both are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Noise:
    """How unsteady machines are. Shares are of the time they disturb.

    `benchmarks/fit_noise.py` fits them. The trace of a real 64-GPU job (StragglerAnalysis, AR) gives: chunk 0.019, host
    0.003, rank 0.002, transfer 0.004, and not one pause in 42,240 passes. Where the values below differ, they are the
    harsher: a shared cluster is less steady than that job was.
    """

    host: float = 0.006
    """Standard deviation of the lasting difference between hosts' speeds."""
    rank: float = 0.004
    """The same between the ranks of a host."""
    chunk: float = 0.019
    """Standard deviation of the time of one piece of computing."""
    transfer: float = 0.05
    """Standard deviation of the time of one transfer."""
    pause_chance: float = 2e-4
    """Chance that a piece of computing is interrupted (by the kernel, a page fault, the allocator)."""
    pause_ms: float = 4.0
    """Least length of such a pause; the tail is Pareto with exponent 1.8."""
    gc_chance: float = 0.002
    """Chance, per rank and step, of a garbage collection in the forward pass."""
    gc_ms: float = 40.0
    data_ms: float = 1.0
    """Typical wait for the input at the begin of a step (gamma, shape 2)."""
    skew_ms: float = 0.02
    """Typical disorder in which members leave a collective."""
    routing: float = 0.15
    """Standard deviation, from step to step, of the share of tokens that goes to an expert."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A hybrid-parallel job.

    Ranks are numbered tensor first, then data, then pipeline; hosts hold `per_host` ranks each in that order.
    """

    ranks: int = 64
    tp: int = 4
    pp: int = 2
    steps: int = 80
    microbatches: int = 4
    chunks: int = 2
    """Pieces of computing a forward pass has, each ended by a tensor-parallel collective."""
    forward_ms: float = 20.0
    """Computing of one microbatch in one stage, forward; backward takes twice as long."""
    last_stage: float = 1.0
    """By how much longer the last stage computes."""
    sequence: float = 0.0
    """Standard deviation of the work in a microbatch: sequences of different length."""
    buckets: int = 2
    overlap: bool = True
    """Whether gradient buckets are reduced while the backward pass goes on."""
    cp: int = 1
    """Context parallelism: so many replicas in a row share a sequence, and pass keys and values round."""
    ep: int = 1
    """Expert parallelism: so many replicas in a row share experts, and exchange tokens with all-to-alls."""
    hot: float = 0.2
    """Standard deviation of the lasting difference between the loads of experts."""
    virtual: int = 1
    """Pieces of the model a stage has (interleaved schedule); more than one needs three stages or more."""
    sharded: bool = False
    """Whether parameters are sharded over replicas: gathered before each piece, gradients reduced to their owners."""
    everybody: bool = True
    """Whether a collective of all ranks ends the step (gradient norm, loss)."""
    per_host: int = 8
    hosts_per_leaf: int = 4
    gbytes_per_second: float = 40.0
    """What a network adapter moves."""
    bucket_mb: float = 120.0
    activation_mb: float = 30.0
    transfers: bool = False
    """Whether transfers of edges are recorded."""
    phases: bool = False
    """Whether the program tells its phases: forward and backward, summed over a step."""
    pauses: tuple[tuple[int, str, float], ...] = ()
    """Steps before which all ranks do something else: (step, checkpoint or eval, seconds)."""
    first_step_s: float = 1.0
    """How much longer the first step takes."""
    offset_ms: float = 3.0
    """Standard deviation of hosts' clock offsets."""
    drift_ppm: float = 10.0
    noise: Noise = field(default_factory=Noise)
    name: str = "simulated"

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit.

        Raises:
            ValueError: The number of ranks is no multiple of tp x pp, the number of replicas none of cp or ep, or an
                interleaved schedule does not fit.
        """
        if self.ranks % (self.tp * self.pp):
            raise ValueError(f"ranks: {self.ranks} is no multiple of tp x pp = {self.tp * self.pp}")
        for name, size in (("cp", self.cp), ("ep", self.ep)):
            if self.dp % size:
                raise ValueError(f"{name}: {self.dp} replicas are no multiple of {size}")
        if self.virtual > 1 and (self.pp < 3 or self.microbatches % self.pp):
            raise ValueError("virtual: needs three stages at least, and microbatches that are a multiple of them")

    @property
    def dp(self) -> int:
        """How many replicas train side by side."""
        return self.ranks // (self.tp * self.pp)

    @property
    def grid(self) -> Ints:
        """Ranks by stage, replica and tensor position."""
        return np.arange(self.ranks).reshape(self.pp, self.dp, self.tp)

    @property
    def host(self) -> Ints:
        """The host number of each rank."""
        return np.arange(self.ranks) // self.per_host

    def host_name(self, number: int) -> str:
        """Return what a host is called."""
        return f"node{number:04d}"
