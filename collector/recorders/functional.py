"""Functional collectives (DTensor, tensor parallelism): called in eager mode, they go from Python straight to C++.

Their functions are wrapped where Python calls them; an operation ends when somebody has waited for its tensor. Those of
compiled graphs, and those that autograd runs for the backward of one, cannot be seen.
"""

from __future__ import annotations

import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from offbeat.collector.recorders.guard import untraced
from offbeat.collector.recorders.operations import measure, sign
from offbeat.collector.ring import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.recorders.session import Session
    from offbeat.collector.ring.writer import Token

FUNCTIONS = {
    "broadcast": ("broadcast", 2),
    "all_reduce": ("all_reduce", 2),
    "all_gather_single": ("all_gather", 2),
    "all_gather_tensor": ("all_gather", 2),
    "reduce_scatter_single": ("reduce_scatter", 3),
    "reduce_scatter_tensor": ("reduce_scatter", 3),
    "all_to_all_single": ("all_to_all", 3),
    "all_reduce_coalesced": ("all_reduce", 2),
    "all_gather_single_coalesced": ("all_gather", 1),
    "all_gather_into_tensor_coalesced": ("all_gather", 1),
    "reduce_scatter_single_coalesced": ("reduce_scatter", 3),
    "reduce_scatter_tensor_coalesced": ("reduce_scatter", 3),
}
"""Functions of the torch versions known, and where their group is among the arguments."""


class _Waited(weakref.ref[Any]):
    """A tensor somebody will wait for; dropped before that, its operation ends unknown."""

    __slots__ = ("key", "token")
    key: int
    token: Token


def install(session: Session) -> None:
    """Put the recording in front of the functional collectives, where this torch has them."""
    from torch.distributed import _functional_collectives as module  # noqa: PLC0415 - a trainer's import

    if not all(hasattr(module, name) for name in ("_resolve_group", "_are_we_tracing", "wait_tensor")):
        session.guard.note("functional collectives cannot be seen in this version of torch")
        return
    waits = _Waits(session)
    for name, (op, group_at) in FUNCTIONS.items():
        if hasattr(module, name):
            session.replace(module, name, _Function(session, waits, module, name, op, group_at).wrap)
    session.replace(module, "wait_tensor", waits.wrap_wait)


class _Waits:
    """The tensors of functional collectives in flight."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tensors: dict[int, _Waited] = {}
        self._here = threading.local()

    @property
    def inside(self) -> bool:
        """Whether this thread is in a functional collective: older names call newer ones."""
        return getattr(self._here, "inside", False)

    @inside.setter
    def inside(self, value: bool) -> None:
        self._here.inside = value

    def follow(self, result: Any, token: Token) -> None:
        tensor = result[0] if isinstance(result, (list, tuple)) else result
        tensor = getattr(tensor, "elem", None)
        if tensor is None:  # waited for already
            self._session.ring.end(token)
            return
        waited = _Waited(tensor, self._dropped)
        waited.key, waited.token = _memory(tensor), token
        self._tensors[waited.key] = waited

    def _dropped(self, waited: weakref.ref[Any]) -> None:
        if isinstance(waited, _Waited):
            self._tensors.pop(waited.key, None)
            self._session.ring.end(waited.token, layout.UNKNOWN)

    def wrap_wait(self, original: Any) -> Any:
        @functools.wraps(original)
        def wait_tensor(tensor: Any) -> Any:
            result = original(tensor)
            if self._tensors:
                waited = self._tensors.pop(_memory(tensor), None)
                if waited is not None:
                    self._session.ring.end(waited.token)
            return result

        return untraced(wait_tensor)


def _memory(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr())  # the same for views, which may be waited for in its place


class _Function(NamedTuple):
    """One function, and what is needed to record a call of it."""

    session: Session
    waits: _Waits
    module: Any
    name: str
    op: str
    group_at: int

    def wrap(self, original: Any) -> Callable[..., Any]:
        from torch.compiler import is_compiling  # noqa: PLC0415 - a trainer's import, and there by now

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_compiling() or self._is_silent():
                return original(*args, **kwargs)
            session, waits = self.session, self.waits
            try:
                token = self._launch(args, kwargs)
            except Exception as error:  # noqa: BLE001 - never into training
                result = original(*args, **kwargs)  # arguments that torch refuses too are no failure of ours
                session.guard.failed(self.name, error)
                return result
            waits.inside = True
            try:
                result = original(*args, **kwargs)
            except BaseException:
                session.ring.cancel(token)
                raise
            finally:
                waits.inside = False
            try:
                waits.follow(result, token)
                session.guard.note("functional collectives of compiled graphs and of backward passes cannot be seen")
            except Exception as error:  # noqa: BLE001 - never into training
                session.ring.cancel(token)
                session.guard.failed(self.name, error)
            return result

        return untraced(call)

    def _is_silent(self) -> bool:
        session = self.session
        if not session.on or self.waits.inside or self.name in session.guard.broken:
            return True
        return bool(self.module._are_we_tracing())  # noqa: SLF001 - torch offers no other way

    def _launch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Token:
        import torch.distributed as dist  # noqa: PLC0415 - a trainer's import, and there by now

        session, module = self.session, self.module
        asked = args[self.group_at] if len(args) > self.group_at else kwargs["group"]
        pg = module._resolve_group(asked, kwargs.get("tag", ""))  # noqa: SLF001 - torch offers no other way
        if isinstance(pg, str):
            pg = dist.distributed_c10d._resolve_process_group(pg)  # noqa: SLF001 - torch offers no other way
        group = session.groups.of(pg)
        nbytes, tensor = measure(args[0] if args else kwargs.get("self", kwargs.get("inputs")))
        signature = sign(session, group, self.op, f"functional.{self.name}", tensor)
        token = session.ring.start(signature, nbytes, group.seq)
        group.seq += 1
        return token
