"""In which order a pipeline stage computes: one forward, one backward, after a warm-up (1F1B), plain or interleaved.

Interleaved, a stage holds several pieces (chunks) of the model, and a microbatch passes it as often: chunk c of stage s
is the (c x stages + s)-th piece of the model. The order is that of Megatron-LM (Narayanan et al., SC'21).
"""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """The forward or backward pass of one microbatch through one chunk."""

    backward: bool
    microbatch: int
    chunk: int = 0


def schedule(stage: int, stages: int, microbatches: int, virtual: int = 1) -> list[Task]:
    """Return what *stage* of *stages* with *virtual* chunks does in one step."""
    total = microbatches * virtual
    if virtual == 1:
        warm = min(stages - 1 - stage, total)
    else:
        warm = min(2 * (stages - 1 - stage) + (virtual - 1) * stages, total)
    order = [_task(k, stages, virtual, backward=False) for k in range(warm)]
    for k in range(total - warm):
        order.append(_task(warm + k, stages, virtual, backward=False))
        order.append(_task(k, stages, virtual, backward=True))
    return order + [_task(k, stages, virtual, backward=True) for k in range(total - warm, total)]


def _task(number: int, stages: int, virtual: int, *, backward: bool) -> Task:
    """Return the *number*-th pass: as many microbatches as there are stages go through one chunk, then the next."""
    if virtual == 1:
        return Task(backward, number)
    turn, place = divmod(number, stages * virtual)
    chunk, within = divmod(place, stages)
    return Task(backward, turn * stages + within, virtual - 1 - chunk if backward else chunk)
