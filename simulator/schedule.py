"""In which order a pipeline stage computes: one forward, one backward, after a warm-up (1F1B)."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """The forward or backward pass of one microbatch."""

    backward: bool
    microbatch: int


def one_f_one_b(stage: int, stages: int, microbatches: int) -> list[Task]:
    """Return what *stage* of *stages* does in one step."""
    warm = min(stages - 1 - stage, microbatches)
    order = [Task(backward=False, microbatch=m) for m in range(warm)]
    for m in range(microbatches - warm):
        order += [Task(backward=False, microbatch=warm + m), Task(backward=True, microbatch=m)]
    return order + [Task(backward=True, microbatch=m) for m in range(microbatches - warm, microbatches)]
