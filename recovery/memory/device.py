"""State that lies on a GPU: read on a stream of its own, behind what the device was doing to it when it was taken."""

from __future__ import annotations

import sys
from typing import Any


class Behind:
    """A stream that waits for what was queued when this was made; copies made within the block run on it."""

    def __init__(self, torch: Any, device: Any) -> None:
        """Mark this moment on the current stream of *device*."""
        self._torch = torch
        self._event = torch.cuda.Event()
        self._event.record(torch.cuda.current_stream(device))
        self._stream = torch.cuda.Stream(device)
        self._block: Any = None

    def __enter__(self) -> None:
        """Go onto the stream: forward and backward, queued since on another one, do not delay its copies."""
        self._stream.wait_event(self._event)
        self._block = self._torch.cuda.stream(self._stream)
        self._block.__enter__()

    def __exit__(self, *error: object) -> None:
        """Wait for the copies and leave the stream."""
        self._stream.synchronize()
        self._block.__exit__(*error)


def behind(values: list[Any]) -> Behind | None:
    """Return how to read *values* from their device; None where they lie in host memory."""
    torch = sys.modules.get("torch")
    for value in values:
        device = getattr(value, "device", None)
        if torch is not None and getattr(device, "type", "") == "cuda":
            return Behind(torch, device)
    return None
