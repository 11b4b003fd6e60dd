"""Calls over a channel: a name with fields goes, fields and a payload come back, or an error of the same kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offbeat.recovery.memory.budget import BudgetError
from offbeat.recovery.memory.director import UndecidedError
from offbeat.recovery.memory.frames import Channel, ClosedError, FrameError
from offbeat.recovery.memory.grants import NoSlotError
from offbeat.recovery.memory.job import AbsentError, StaleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from offbeat.recovery.memory.frames import Raw

    Answer = tuple[dict[str, Any], Raw]
    Handler = Callable[..., Answer | dict[str, Any]]


class RemoteError(Exception):
    """The other side failed at what was asked; its words."""


KINDS: dict[str, type[Exception]] = {
    "stale": StaleError,
    "absent": AbsentError,
    "budget": BudgetError,
    "no_slot": NoSlotError,
    "forbidden": PermissionError,
    "undecided": UndecidedError,
    "bad": ValueError,
}
"""Errors that are raised at the caller as they were raised there."""


def call(
    channel: Channel, name: str, into: NDArray[np.uint8] | None = None, /, **fields: Any
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Call *name* and wait for the answer.

    Args:
        channel: To whom.
        name: Of the call.
        into: Where the answer's payload goes.
        fields: Its arguments; anything JSON can say.

    Returns:
        The fields of the answer and its payload.

    Raises:
        RemoteError: It failed there in a way that has no kind of its own.
        FrameError: The connection is of no more use.
        OSError: Likewise.
    """
    channel.send({"call": name, **fields})
    head, payload = channel.receive(into)
    if "error" in head:
        raise KINDS.get(head.get("kind", ""), RemoteError)(str(head["error"]))
    return head, payload


def answer(channel: Channel, handlers: Mapping[str, Handler], failed: Callable[[str, Exception], None]) -> None:
    """Answer calls until the other side goes away.

    Args:
        channel: From whom.
        handlers: By name; each takes the call's fields.
        failed: Told of failures that are our own fault.

    Raises:
        FrameError: The other side broke the rules.
        OSError: The connection is broken.
    """
    while True:
        try:
            head, _ = channel.receive()
        except ClosedError:
            return
        name = head.pop("call", None)
        handler = handlers.get(name) if isinstance(name, str) else None
        try:
            if handler is None:
                raise ValueError(f"no such call: {name!r}")
            found = handler(**head)
        except (FrameError, OSError) as error:
            if not isinstance(error, PermissionError):
                failed(str(name), error)
            channel.send(_error(error))
        except Exception as error:  # noqa: BLE001 - one call's failure is told to its caller, and the rest go on
            if not isinstance(error, tuple(KINDS.values())):
                failed(str(name), error)
            channel.send(_error(error))
        else:
            fields, payload = found if isinstance(found, tuple) else (found, b"")
            channel.send(fields, payload)


def _error(error: Exception) -> dict[str, Any]:
    kind = next((name for name, kind in KINDS.items() if isinstance(error, kind)), "")
    # A call with fields it does not have, or of other types, is the caller's mistake.
    kind = "bad" if isinstance(error, TypeError) else kind
    return {"error": f"{error}"[:2000] or type(error).__name__, "kind": kind}
