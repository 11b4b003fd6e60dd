"""Record what a torch.distributed job does: `offbeat.record()`, `offbeat.phase(name)`.

Only the standard library is imported here, and torch when recording starts. Nothing blocks or raises into training.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from typing import TYPE_CHECKING

from offbeat.collector.recorders import ddp, functional, operations
from offbeat.collector.recorders.exits import Exits
from offbeat.collector.recorders.guard import warn
from offbeat.collector.recorders.sampler import Sampler
from offbeat.collector.recorders.session import Session
from offbeat.collector.recorders.works import wrap_wait
from offbeat.collector.ring import place
from offbeat.collector.ring.writer import RingWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

_phases = itertools.count(1)


class _Recording:
    """The one recording of this process."""

    session: Session | None = None
    exits: Exits | None = None
    pid = 0


def record() -> None:
    """Record this process's collectives, where its main thread is, and how it ends, for the agent of this host.

    Call it once, before or after `init_process_group`; again it does nothing. Where no ring can be made it says so in
    one line and the job goes on.
    """
    if _Recording.pid == os.getpid():
        return
    _Recording.pid = os.getpid()
    try:
        directory = place.ring_directory()
        ring = RingWriter(directory)
        if _Recording.session is None:
            _Recording.session = Session(ring)
            _install(_Recording.session)
        else:  # a forked child: everything is in place, and silent until now
            _Recording.session.start(ring)
        _Recording.exits = Exits(_Recording.session)
        Sampler(_Recording.session).start()
        _Recording.session.identify()
    except Exception as error:  # noqa: BLE001 - never into training
        warn(f"offbeat: nothing is recorded: {type(error).__name__}: {error}")
        return
    if not place.agent_present(directory):
        warn(f"offbeat: no agent looks after {directory}; recording all the same")


def pause() -> None:
    """Stop recording operations and samples for a while; on all ranks at the same point, or they count differently."""
    if _Recording.session is not None:
        _Recording.session.on = False


def resume() -> None:
    """Go on after `pause`."""
    if _Recording.session is not None:
        _Recording.session.on = True


def exits() -> Exits | None:
    """Return what marks this process's end, None where nothing is recorded."""
    return _Recording.exits


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Say that the job does something on purpose for as long as the block lasts.

    Args:
        name: What it does, e.g. eval or checkpoint.
    """
    session, number = _Recording.session, next(_phases)
    if session is not None:
        session.ring.message("phase_begin", str(name), number)
    try:
        yield
    finally:
        if session is not None:
            session.ring.message("phase_end", str(name), number)


def _install(session: Session) -> None:
    try:
        import torch.distributed as dist  # noqa: PLC0415 - only now, and the trainer's own import
    except ImportError:
        session.guard.note("torch is not installed: only samples and the end of the process are recorded")
        return
    if not dist.is_available():
        session.guard.note(
            "torch has no distributed package here: only samples and the end of the process are recorded"
        )
        return
    for part in (_install_operations, ddp.install, functional.install):
        try:
            part(session)
        except Exception as error:  # noqa: BLE001 - never into training
            session.guard.failed(part.__module__.rpartition(".")[2], error)


def _install_operations(session: Session) -> None:
    import torch.distributed as dist  # noqa: PLC0415 - as above

    operations.install(session, dist.ProcessGroup)
    session.replace(dist.Work, "wait", functools.partial(wrap_wait, session))
    for module in (dist, dist.distributed_c10d):
        session.replace(module, "init_process_group", session.follow_init)
