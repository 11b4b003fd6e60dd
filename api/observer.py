"""The thread that writes down how the store stands, for `/metrics`.

Apart from the scrape: a database that does not answer would hold the scrape up exactly when somebody must see it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog
from prometheus_client import start_http_server

from offbeat import metrics
from offbeat.store import StoreError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from offbeat.store import Store

LOOK_SECONDS = 5.0
"""How often the store is looked at; rarer, and a short outage is in no scrape."""

_up = metrics.gauge("offbeat_store_up")
_unsealed = metrics.gauge("offbeat_store_unsealed_bytes")
_limit = metrics.gauge("offbeat_store_unsealed_limit_bytes")
_free = metrics.gauge("offbeat_store_disk_free_bytes")
_pending = metrics.gauge("offbeat_webhook_pending")
_unheld = metrics.gauge("offbeat_shards_unheld")
_log = structlog.get_logger(__name__)


class Observer:
    """Keeps the gauges of a store fresh."""

    def __init__(self, store: Store, *, shards: int = 0) -> None:
        """Prepare to look at *store*; *shards* of its workers, 0 where there are none."""
        self._store, self._shards = store, shards
        self._stop = threading.Event()
        self._server: WSGIServer | None = None
        self._thread = threading.Thread(target=self._run, name="offbeat-observer", daemon=True)

    def start(self) -> None:
        """Look once, then every few seconds."""
        self.look()
        self._thread.start()

    def serve(self, port: int) -> None:
        """Serve `/metrics` on *port* of the loopback address, for processes without an API.

        Raises:
            OSError: The port is taken.
        """
        self._server, _ = start_http_server(port, "127.0.0.1", metrics.REGISTRY)

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def look(self) -> None:
        """Write down how the store stands now; what does not answer leaves its last figure, and `up` says so."""
        try:
            room = self._store.telemetry.room()
        except OSError as error:
            _log.warning("the data directory cannot be looked at", error=str(error))
        else:
            _unsealed.set(room.unsealed_bytes)
            _limit.set(room.limit_bytes)
            _free.set(room.free_bytes)
        try:
            self._store.ping()
            _pending.set(self._store.webhooks.pending())
            _unheld.set(self._shards - len(self._store.leases.holders("shard:")) if self._shards else 0)
        except StoreError:
            _up.set(0)
        else:
            _up.set(1)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()
