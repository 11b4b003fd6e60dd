"""The keepers of a job as whoever leads sees them: by name, each to be called, our own without a network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from offbeat.recovery.memory.calls import Handler

AT_ONCE = 32
"""Keepers asked at the same time."""


class Hosts(Protocol):
    """Whom orders can be given to."""

    def names(self) -> list[str]:
        """Return all hosts of the job."""

    def call(
        self, host: str, name: str, into: NDArray[np.uint8] | None = None, /, **fields: Any
    ) -> tuple[dict[str, Any], Any]:
        """Call *name* at the keeper of *host*; see `calls.call`."""


class Alone:
    """One host, and nobody else."""

    def __init__(self, host: str, handlers: Mapping[str, Handler]) -> None:
        """Be *host*, whose keeper does what *handlers* do."""
        self._host, self._handlers = host, handlers

    def names(self) -> list[str]:
        """Return the one host."""
        return [self._host]

    def call(
        self, host: str, name: str, into: NDArray[np.uint8] | None = None, /, **fields: Any
    ) -> tuple[dict[str, Any], Any]:
        """Do it at once."""
        assert host == self._host
        assert into is None
        found = self._handlers[name](**fields)
        return found if isinstance(found, tuple) else (found, b"")


def ask(
    hosts: Hosts, names: Iterable[str], make: Callable[[str], tuple[str, dict[str, Any]]]
) -> dict[str, dict[str, Any] | Exception]:
    """Call several keepers at once.

    Args:
        hosts: How to reach them.
        names: Whom to ask.
        make: Host → the call's name and fields.

    Returns:
        Host → what it answered, or the error there or on the way.
    """

    def one(host: str) -> dict[str, Any] | Exception:
        name, fields = make(host)
        try:
            return hosts.call(host, name, **fields)[0]
        except Exception as error:  # noqa: BLE001 - one keeper's failure is an answer, whatever it is
            return error

    wanted = list(names)
    if len(wanted) == 1:
        return {wanted[0]: one(wanted[0])}
    with ThreadPoolExecutor(min(AT_ONCE, max(1, len(wanted)))) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))
