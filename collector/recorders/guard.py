"""What keeps a recorder out of the way: its own failures are counted, said once, and never reach the trainer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.collector.ring.writer import RingWriter

Function = TypeVar("Function", bound="Callable[..., Any]")


class Guard:
    """Failures and notes of one recorder."""

    def __init__(self, ring: RingWriter) -> None:
        """Leave notes in *ring*."""
        self._ring = ring
        self._said: set[str] = set()
        self.failures = 0
        self.broken: set[str] = set()
        """Parts that failed and are off from then on."""

    def note(self, text: str) -> None:
        """Say once, in the ring, what cannot be seen."""
        if text not in self._said:
            self._said.add(text)
            self._ring.message("recorder_note", text)

    def failed(self, part: str, error: BaseException) -> None:
        """Count a failure of a *part* of the recorder and switch that part off."""
        self.failures += 1
        if part not in self.broken:
            self.broken.add(part)
            self.note(f"{part} is no longer recorded: {type(error).__name__}: {error}")


def untraced(function: Function) -> Function:
    """Keep torch.compile from compiling a function of ours, and what it calls, where C++ or eager code calls it."""
    try:
        from torch._C._dynamo import eval_frame  # noqa: PLC0415 - a trainer's import, and there by now

        skip = eval_frame._FrameAction.SKIP  # noqa: SLF001 - the Python side of it takes seconds to import
        strategy = eval_frame._FrameExecStrategy(skip, skip)  # noqa: SLF001 - as above
        eval_frame.set_code_exec_strategy(function.__code__, strategy)
    except (ImportError, AttributeError, TypeError):  # another version of torch, or none: compiled code may be slower
        pass
    return function


def warn(text: str) -> None:
    """Log one warning, from the first process of a host only."""
    import logging  # noqa: PLC0415 - costs more than all else here, and is seldom needed

    if os.environ.get("LOCAL_RANK", "0") == "0":
        logging.getLogger("offbeat").warning("%s", text)
