"""How the ranks of one start come to know what was decided for all of them: rank 0 asks its keeper, the others read."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from offbeat.jobname import job_name, sanitise

if TYPE_CHECKING:
    from collections.abc import Callable

_turns = 0


class NoAgreementError(Exception):
    """The ranks cannot agree; the message says what is missing."""


class Who(NamedTuple):
    """This process in its job."""

    job: str
    rank: int
    world: int
    store: Any
    """torch.distributed's default store, None where there is no process group."""


def who(job: str | None = None) -> Who:
    """Return who we are.

    Args:
        job: The job's name where the caller knows better.

    Raises:
        NoAgreementError: We are one of several ranks, and torch.distributed is not set up.
    """
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        store = dist.distributed_c10d._get_default_store()  # noqa: SLF001 - torch offers no other way
        name = sanitise(job) if job else job_name(None, store)
        return Who(name, dist.get_rank(), dist.get_world_size(), store)
    world = os.environ.get("WORLD_SIZE", "1")
    if world not in {"", "1"}:
        raise NoAgreementError(f"WORLD_SIZE is {world}, but torch.distributed is not initialized yet")
    return Who(sanitise(job) if job else job_name(), 0, 1, None)


def agree(us: Who, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what rank 0 decides, on all ranks the same; whatever it fails at, all fail at.

    Args:
        us: Who we are.
        decide: Called on rank 0 alone.

    Raises:
        NoAgreementError: Rank 0 failed.
    """
    global _turns  # noqa: PLW0603 - counts alike on all ranks, for all snapshotters of a process
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = f"offbeat/snapshots/{restart}/{_turns}"
    _turns += 1
    if us.rank != 0:
        found: dict[str, Any] = json.loads(us.store.get(key))
    else:
        try:
            found = decide()
        except Exception as error:  # noqa: BLE001 - the others wait for an answer, whatever it is
            found = {"failed": str(error) or type(error).__name__}
        if us.store is not None:
            us.store.set(key, json.dumps(found))
    if "failed" in found:
        raise NoAgreementError(found["failed"])
    return found
