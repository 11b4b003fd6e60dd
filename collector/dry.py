"""The agent without consequences: it reads what it would read, and tells it to somebody else than the service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from offbeat.collector.agent import FLUSH_SECONDS, Readers, check_host

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import pyarrow as pa

    from offbeat.settings import AgentSettings


def watch(settings: AgentSettings, stop: threading.Event, tell: Callable[[dict[str, pa.Table]], None]) -> None:
    """Read until *stop* is set and *tell* each batch. No spool is taken, no ring removed, nothing sent or obeyed.

    Raises:
        AgentError: A setting cannot be used.
    """
    check_host(settings.host)
    collection = Readers(settings).collection
    sampled = flushed = float("-inf")
    while not stop.is_set():
        now = time.monotonic()
        due = now - sampled >= settings.sample_seconds
        sampled = now if due else sampled
        collection.read(sample=due)
        if collection.urgent or now - flushed >= FLUSH_SECONDS[settings.detail]:
            flushed = now
            for batch in collection.take():
                tell(batch)
        stop.wait(settings.poll_seconds)
