"""The operations of torch's ProcessGroup: what each is called here, what it moves, and how its calls are recorded.

Whatever calls these methods from Python is seen, on any backend: torch.distributed, FSDP, pipelines, DDP through the
hook of `ddp`. Payloads are counted so that all members of a healthy operation say the same number where they move the
same: what a member contributes, and for scatter what it receives.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from offbeat.collector.recorders.guard import untraced
from offbeat.collector.ring import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.recorders.groups import Group
    from offbeat.collector.recorders.session import Session


class Method(NamedTuple):
    """One method: its word in `records.OPS`, at which places its payload (-1: none) and options are, has it a root."""

    op: str
    payload: int
    options: int
    rooted: bool = False


METHODS = {
    "allreduce": Method("all_reduce", 0, 1),
    "allreduce_coalesced": Method("all_reduce", 0, 1),
    "broadcast": Method("broadcast", 0, 1, rooted=True),
    "reduce": Method("reduce", 0, 1, rooted=True),
    "allgather": Method("all_gather", 1, 2),
    "all_gather_single": Method("all_gather", 1, 2),
    "_allgather_base": Method("all_gather", 1, 2),
    "allgather_coalesced": Method("all_gather", 1, 2),
    "all_gather_single_coalesced": Method("all_gather", 1, 2),
    "allgather_into_tensor_coalesced": Method("all_gather", 1, 2),
    "gather": Method("gather", 1, 2, rooted=True),
    "scatter": Method("scatter", 0, 2, rooted=True),
    "reduce_scatter": Method("reduce_scatter", 1, 2),
    "reduce_scatter_single": Method("reduce_scatter", 1, 2),
    "_reduce_scatter_base": Method("reduce_scatter", 1, 2),
    "reduce_scatter_single_coalesced": Method("reduce_scatter", 1, 2),
    "reduce_scatter_tensor_coalesced": Method("reduce_scatter", 1, 2),
    "all_to_all_single": Method("all_to_all", 1, 4),
    "alltoall_base": Method("all_to_all", 1, 4),
    "alltoall": Method("all_to_all", 1, 2),
    "barrier": Method("barrier", -1, 0),
}
"""Collectives of torch 2.13 and older; those that a torch does not have are skipped."""
POINT_TO_POINT = {"send": "send", "recv": "recv", "recv_anysource": "recv"}
_PAYLOAD_WORDS = (
    "input",
    "inputTensor",
    "input_tensor",
    "input_tensors",
    "input_list",
    "inputTensors",
    "tensors",
    "tensor",
)


def install(session: Session, process_group: Any) -> None:
    """Put the recording in front of the methods of torch's ProcessGroup class."""
    for name, method in METHODS.items():
        if hasattr(process_group, name):
            session.replace(process_group, name, functools.partial(_collective, session, name, method))
    for name, op in POINT_TO_POINT.items():
        if hasattr(process_group, name):
            session.replace(process_group, name, functools.partial(_point_to_point, session, name, op))
    if hasattr(process_group, "monitored_barrier"):
        session.replace(
            process_group, "monitored_barrier", functools.partial(blocking, session, "monitored_barrier", "barrier")
        )


def measure(payload: Any) -> tuple[int, Any]:
    """Return the bytes of all tensors in nested lists, and the first of them or None."""
    if isinstance(payload, (list, tuple)):
        total, first = 0, None
        for item in payload:
            nbytes, tensor = measure(item)
            total += nbytes
            first = tensor if first is None else first
        return total, first
    if payload is None:
        return 0, None
    try:
        return payload.nbytes, payload
    except RuntimeError:  # a sparse tensor, whose size on the way nobody knows: that of the dense one
        return payload.numel() * payload.element_size(), payload


def sign(  # noqa: PLR0917 - keywords cost time on every operation
    session: Session, group: Group, op: str, name: str, tensor: Any, root: Any = None, peer: Any = None
) -> bytes:
    """Return the ring's signature of an operation; `root` and `peer` are ranks in the group."""
    on_device = tensor is not None and not tensor.is_cpu
    key = (name, None if tensor is None else tensor.dtype, root, peer, on_device)
    signature = group.signatures.get(key)
    if signature is None:
        signature = group.signatures[key] = session.ring.signature(
            group.communicator,
            op,
            native=name,
            dtype="" if tensor is None else str(tensor.dtype).rpartition(".")[2],
            peer=group.global_rank(peer),
            root=group.global_rank(root),
            on_device=on_device,
        )
    return signature


def _collective(session: Session, name: str, method: Method, original: Any) -> Callable[..., Any]:
    """Return a method that notes its launch, calls *original*, and has the end noted when it comes."""
    op, payload_at, options_at, rooted = method

    # Flat on purpose: between two operations a trainer's data push this code out of the caches, and each call costs.
    @functools.wraps(original)
    def call(pg: Any, *args: Any, **kwargs: Any) -> Any:
        guard, ring = session.guard, session.ring
        if not session.on or name in guard.broken:
            return original(pg, *args, **kwargs)
        try:
            group = session.groups.of(pg)
            options = args[options_at] if len(args) > options_at else kwargs.get("opts")
            root = getattr(options, "rootRank", options) if rooted else None
            nbytes, tensor = measure(_payload(payload_at, args, kwargs))
            signature = sign(session, group, op, name, tensor, root)
            # No lock: threads that launch in one group at once have no order on the other ranks either.
            seq = group.seq
            group.seq = seq + 1
            token = ring.start(signature, nbytes, seq)
            on_host = tensor is None or tensor.is_cpu
        except Exception as error:  # noqa: BLE001 - never into training
            work = original(pg, *args, **kwargs)  # arguments that torch refuses too are no failure of ours
            guard.failed(name, error)
            return work
        try:
            work = original(pg, *args, **kwargs)
        except BaseException:
            ring.cancel(token)
            if group.seq == seq + 1:  # refused before it was launched: the next one has its number
                group.seq = seq
            raise
        try:
            if work is not None and on_host and not getattr(options, "asyncOp", True):
                session.works.waiting[id(work)] = work, token
            else:
                session.works.watch(token, work, group, name, on_host=on_host)
        except Exception as error:  # noqa: BLE001 - never into training
            ring.cancel(token)
            guard.failed(name, error)
        return work

    return untraced(call)


def _point_to_point(session: Session, name: str, op: str, original: Any) -> Callable[..., Any]:
    """Return a method like that of `_collective` for a send or recv."""

    @functools.wraps(original)
    def call(pg: Any, *args: Any, **kwargs: Any) -> Any:
        guard, ring = session.guard, session.ring
        if not session.on or name in guard.broken:
            return original(pg, *args, **kwargs)
        try:
            group = session.groups.of(pg)
            peer = args[1] if name != "recv_anysource" and len(args) > 1 else None
            nbytes, tensor = measure(_payload(0, args, kwargs))
            number = group.p2p.get((op, peer), 0)
            token = ring.start(sign(session, group, op, name, tensor, None, peer), nbytes, -1, number)
            group.p2p[op, peer] = number + 1
        except Exception as error:  # noqa: BLE001 - never into training
            work = original(pg, *args, **kwargs)  # arguments that torch refuses too are no failure of ours
            guard.failed(name, error)
            return work
        try:
            work = original(pg, *args, **kwargs)
        except BaseException:
            ring.cancel(token)
            group.p2p[op, peer] = number
            raise
        try:
            session.works.watch(token, work, group, name, on_host=tensor is None or tensor.is_cpu)
        except Exception as error:  # noqa: BLE001 - never into training
            ring.cancel(token)
            guard.failed(name, error)
        return work

    return untraced(call)


def blocking(session: Session, name: str, op: str, original: Any) -> Callable[..., Any]:
    """Return a function that records a call of *original*, whose first argument is the process group, as one operation.

    Args:
        session: The recording.
        name: Its native word.
        op: Its word in `records.OPS`.
        original: What to call; the operation has ended when it returns. Tensors in its second argument are its payload.
    """

    @functools.wraps(original)
    def blocked(pg: Any, *args: Any, **kwargs: Any) -> Any:
        if not session.on or name in session.guard.broken:
            return original(pg, *args, **kwargs)
        try:
            group = session.groups.of(pg)
            nbytes, tensor = measure(args[0] if args and isinstance(args[0], (list, tuple)) else None)
            token = session.ring.start(sign(session, group, op, name, tensor), nbytes, group.seq)
            group.seq += 1
        except Exception as error:  # noqa: BLE001 - never into training
            result = original(pg, *args, **kwargs)  # arguments that torch refuses too are no failure of ours
            session.guard.failed(name, error)
            return result
        try:
            result = original(pg, *args, **kwargs)
        except BaseException:
            session.ring.end(token, layout.COMPLETED | layout.FAILED << 8)
            raise
        session.ring.end(token)
        return result

    return untraced(blocked)


def _payload(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if index < 0:
        return None
    if len(args) > index:
        payload = args[index]
        return payload[0] if payload.__class__ is list and len(payload) == 1 else payload
    return next((kwargs[word] for word in _PAYLOAD_WORDS if word in kwargs), None)
