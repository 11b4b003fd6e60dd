"""What all requests share, and how an endpoint gets at it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import anyio
from fastapi import Depends, Request

from offbeat.api.limits import FailureLimit, Gate
from offbeat.api.mailbox import Mailbox
from offbeat.api.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from offbeat.settings import ServiceSettings
    from offbeat.store import Bus, Store
    from offbeat.store.shards import Router

BATCHES_AT_ONCE = 32
"""Batches being received or stored at once; without it their bodies fill the memory when the disk is slow."""
DECODED_AT_ONCE = 4
"""Batches decompressed and written at once; without it each takes `wire.MAX_PLAIN` bytes at the same time."""
WAITS_AT_ONCE = 20_000
"""Agents that wait for orders at once: more than one process can serve; without it connections pile up without end."""
STREAMS_AT_ONCE = 100
"""Event streams open at once; without it one client can take every connection."""


@dataclass
class State:
    """The parts that a running service is made of.

    Args:
        analyzer_alive: Whether findings are being made; a service that only collects is not ready.
        router: Which shards see which batches; None where one analyzer sees all.
        stopping: The service is asked to end; event streams end then.
        wakes: What each open event stream waits for.
    """

    store: Store
    bus: Bus
    settings: ServiceSettings
    analyzer_alive: Callable[[], bool]
    router: Router | None = None
    sessions: Sessions = field(default_factory=Sessions)
    failures: FailureLimit = field(default_factory=FailureLimit)
    batches: Gate = field(default_factory=lambda: Gate(BATCHES_AT_ONCE, "batches"))
    waits: Gate = field(default_factory=lambda: Gate(WAITS_AT_ONCE, "calls that wait for orders"))
    streams: Gate = field(default_factory=lambda: Gate(STREAMS_AT_ONCE, "event streams"))
    decoders: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(DECODED_AT_ONCE))
    mailbox: Mailbox = field(init=False)
    stopping: bool = False
    wakes: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Listen for orders."""
        self.mailbox = Mailbox(self.store.orders.newest)

    def stop(self) -> None:
        """End all event streams; call it on the event loop."""
        self.stopping = True
        for wake in self.wakes:
            wake.set()


async def get_state(request: Request) -> State:
    """Return the state of the application that serves *request*."""
    state = request.app.state.offbeat
    assert isinstance(state, State)
    return state


Shared = Annotated[State, Depends(get_state)]
