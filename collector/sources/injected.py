"""Lines of the kernel's log that an operator makes up, to see an alert find its way: off unless the node allows it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from offbeat.collector import kernel_lines
from offbeat.collector.rows import Events
from offbeat.collector.source import Clock, NoData

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

NOTE = "made up by an operator: nothing is wrong"
MOST = 16
"""Lines taken at one poll."""
_BYTES = 2000
_SUFFIX = ".line"


class InjectedSource:
    """One event for each line that `offbeat agent inject` has put into a directory of the agent's own."""

    name = "injected"
    sampled = False

    def __init__(
        self,
        host: str,
        directory: Path,
        *,
        gpus: Callable[[], Mapping[str, str]] = dict,
        clock: Clock = time.time_ns,
    ) -> None:
        """Watch *directory*; *gpus* gives the index of each GPU by its PCI address."""
        self._host = host
        self._directory = directory
        self._gpus = gpus
        self._clock = clock

    def is_supported(self) -> bool:
        """Make the directory, for this user alone, and say whether it is there."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._directory.is_dir()

    def read(self) -> dict[str, pa.Table]:
        """Return what the lines say, each marked as made up, and remove them.

        Raises:
            NoData: There are none.
        """
        events = Events(self._host)
        for path in sorted(self._directory.glob(f"*{_SUFFIX}"))[:MOST]:
            fact = kernel_lines.read(_take(path))
            if fact is not None:
                device = self._gpus().get(fact.device_id or "", fact.device_id)
                events.add(
                    self._clock(),
                    fact.kind,
                    device_kind=fact.device_kind,
                    device_id=device,
                    code=fact.code,
                    message=f"{fact.message} [{NOTE}]",
                )
        if not events:
            raise NoData
        return {"events": events.table()}


def put(directory: Path, line: str) -> Path:
    """Give *line* to the agent that watches *directory*; return the file, which goes when it is taken.

    Raises:
        ValueError: The agent would make nothing of the line.
        OSError: No agent allows it, or this user may not.
    """
    if kernel_lines.read(line) is None:
        raise ValueError("no line of the kernel's log that says anything, such as 'NVRM: Xid (PCI:0000:9b:00): 79, …'")
    path = directory / f"{time.time_ns()}{_SUFFIX}"
    hidden = path.with_suffix(".new")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(line)
    hidden.rename(path)
    return path


def _take(path: Path) -> str:
    """Read and remove a file; an empty line where that is not possible."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            text = file.read(_BYTES)
        path.unlink()
    except OSError:
        return ""
    return text.decode("utf-8", "replace")
