"""DistributedDataParallel: its reducer launches operations from C++, through the process group it was given.

The reducer is given a process group of ours in place of the model's: one that hands every call on to the original,
where it is recorded like any other. What is computed, the model's process group and its communication hooks stay as
they are, whether set by the user, built in, or none.
"""

from __future__ import annotations

import functools
import gc
import weakref
from typing import TYPE_CHECKING, Any

from offbeat.collector.recorders.guard import untraced
from offbeat.collector.recorders.operations import blocking

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.recorders.session import Session

_UNSEEN = "the gradient buckets of DistributedDataParallel cannot be seen"


def install(session: Session) -> None:
    """See to the reducers of all models, those that exist and those to come."""
    import torch.distributed as dist  # noqa: PLC0415 - a trainer's import, and there by now
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415 - as above

    for name, op in (("_broadcast_coalesced", "broadcast"), ("_verify_params_across_processes", "other")):
        if hasattr(dist, name):
            session.replace(dist, name, functools.partial(blocking, session, name, op))
    if not hasattr(dist.Reducer, "_update_process_group"):
        session.guard.note(f"{_UNSEEN} in this version of torch")
        return
    reducers = _Reducers(session, dist)
    session.replace(DistributedDataParallel, "_ddp_init_helper", reducers.wrap_init)
    session.replace(dist.Reducer, "_update_process_group", reducers.wrap_update)
    if dist.is_initialized():
        # By type: `isinstance` would ask each object for its class, and some answer with a warning.
        for model in [thing for thing in gc.get_objects() if DistributedDataParallel in type(thing).__mro__]:
            model.reducer._update_process_group(model.process_group)  # noqa: SLF001 - torch offers no other way


class _Reducers:
    """The reducers that were seen, and the process groups they were given."""

    def __init__(self, session: Session, dist: Any) -> None:
        self._session = session
        self._dist = dist
        self._class = relay_class(dist.ProcessGroup)
        # The reducer keeps the C++ side of its group alive, this its Python side; without it C++ would go its own way.
        self._relays: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def wrap_init(self, original: Any) -> Callable[..., Any]:
        @functools.wraps(original)
        def _ddp_init_helper(model: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(model, *args, **kwargs)
            if self._session.on:
                model.reducer._update_process_group(model.process_group)  # noqa: SLF001 - torch offers no other way
            return result

        return _ddp_init_helper

    def wrap_update(self, original: Any) -> Callable[..., Any]:
        @functools.wraps(original)
        def _update_process_group(reducer: Any, group: Any) -> Any:
            try:
                relay = self._relay(group)
            except Exception as error:  # noqa: BLE001 - never into training
                self._session.guard.note(f"{_UNSEEN}: {type(error).__name__}: {error}")
                return original(reducer, group)
            result = original(reducer, relay)
            self._relays[reducer] = relay
            return result

        return _update_process_group

    def _relay(self, group: Any) -> Any:
        dist = self._dist
        relay = self._class(group)
        types, custom = dist.Backend.backend_type_map, dist.ProcessGroup.BackendType.CUSTOM
        # With the original's backends it can do by itself whatever C++ asks of it beside the calls it hands on.
        for device in group._device_types:  # noqa: SLF001 - torch offers no other way
            backend = group._get_backend(device)  # noqa: SLF001 - as above
            relay._register_backend(device, types.get(backend.name(), custom), backend)  # noqa: SLF001 - as above
        relay._set_default_backend(types.get(dist.get_backend(group), custom))  # noqa: SLF001 - as above
        relay._set_group_name(group.group_name)  # noqa: SLF001 - as above
        return relay


def relay_class(process_group: Any) -> Any:
    """Return a class of process groups that hand the calls of a reducer on to another one."""

    class Relay(process_group):  # type: ignore[misc]  # torch's class is known at run time only
        """Hands calls on."""

        def __init__(self, group: Any) -> None:
            super().__init__(group.rank(), group.size())
            self._group = group

        def getBackendName(self) -> Any:  # noqa: N802 - C++ looks for this name
            return self._group._get_backend_name()  # noqa: SLF001 - torch offers no other way

        def allreduce(self, tensors: Any, options: Any) -> Any:
            return self._group.allreduce(tensors, options)

        def broadcast(self, tensors: Any, options: Any) -> Any:
            return self._group.broadcast(tensors, options)

        def allgather(self, outputs: Any, inputs: Any, options: Any) -> Any:
            return self._group.allgather(outputs, inputs, options)

    for method in (Relay.getBackendName, Relay.allreduce, Relay.broadcast, Relay.allgather):
        untraced(method)
    return Relay
