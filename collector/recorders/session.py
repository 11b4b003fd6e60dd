"""One recording: the ring, what is known of the process groups, and what was put in front of torch's functions."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from offbeat.collector.recorders.groups import Groups
from offbeat.collector.recorders.guard import Guard
from offbeat.collector.recorders.identity import agree_on_attempt, job_name, local_rank
from offbeat.collector.recorders.works import Works

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.ring.writer import RingWriter


class Session:
    """What the parts of the torch recorder share. `on` is what every hook asks first."""

    def __init__(self, ring: RingWriter) -> None:
        """Record into *ring*."""
        self.start(ring)
        os.register_at_fork(after_in_child=self._leave)

    def start(self, ring: RingWriter) -> None:
        """Start with a fresh ring: the first of this process, or that of a forked child that wants one of its own."""
        self.on = True
        self.ring = ring
        self.guard = Guard(ring)
        self.groups = Groups(ring, self.identify)
        self.works = Works(ring, self.guard)
        self.init_method: str | None = None
        self._default_group: weakref.ref[Any] | None = None
        self._turn = 0
        self._attempt = 0

    def _leave(self) -> None:
        self.on = False  # a child that wants to be recorded says so itself

    def replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        """Put `wrap(original)` in the place of an attribute."""
        setattr(owner, name, wrap(getattr(owner, name)))

    def identify(self) -> None:
        """Say which job, attempt and rank this is, if there is a default process group we have not told of."""
        try:
            import torch.distributed as dist  # noqa: PLC0415 - a trainer's import, and there by now

            c10d = dist.distributed_c10d
            if not dist.is_initialized():
                return
            default = c10d._get_default_group()  # noqa: SLF001 - torch offers no other way
            if self._default_group is not None and self._default_group() is default:
                return
            self._default_group = weakref.ref(default)
            store = c10d._get_default_store()  # noqa: SLF001 - torch offers no other way
            self._attempt = agree_on_attempt(store, self._turn, self._attempt)
            self._turn += 1
            self.ring.identify(
                job=job_name(self.init_method, store),
                attempt=self._attempt,
                rank=dist.get_rank(),
                world=dist.get_world_size(),
                local_rank=local_rank(),
            )
        except Exception as error:  # noqa: BLE001 - never into training
            self.guard.failed("identity", error)

    def follow_init(self, original: Any) -> Any:
        """Return an `init_process_group` after which the ring knows job, attempt and rank."""

        def init_process_group(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if self.on:
                method = kwargs.get("init_method", args[1] if len(args) > 1 else None)
                self.init_method = method if isinstance(method, str) else None
                self.identify()
            return result

        init_process_group.__doc__ = original.__doc__
        return init_process_group
