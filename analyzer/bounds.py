"""Telling agents how long operations may last, so that they hurry when one lasts long: orders of kind `bounds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from offbeat.store import StoreError

if TYPE_CHECKING:
    from offbeat.analyzer.engine.engine import Engine
    from offbeat.store.orders import OrderStore

EVERY_NS = 60_000_000_000
"""How often it is looked whether bounds changed; more often, and agents get orders for every jitter of a job."""
CHANGED = 0.25
"""Part by which a bound must differ from what an agent was told."""
LIFE_SECONDS = 3600.0
"""How long such an order may wait for its agent."""
WHO = "analyzer"

_log = structlog.get_logger(__name__)


class BoundsTeller:
    """Gives the orders; remembers what each host was told."""

    def __init__(self, orders: OrderStore) -> None:
        self._orders = orders
        self._told: dict[tuple[str, int, str], dict[str, float]] = {}
        self._next = 0

    def tell(self, engine: Engine, now: int) -> None:
        """Give every host whose bounds changed an order, once a minute at most."""
        if now < self._next:
            return
        self._next = now + EVERY_NS
        current = {(job, attempt, host): b for job, attempt, hosts in engine.bounds() for host, b in hosts.items()}
        self._told = {key: told for key, told in self._told.items() if key in current}
        for key, bounds in current.items():
            if bounds and _differ(bounds, self._told.get(key, {})):
                self._give(key, bounds)

    def _give(self, key: tuple[str, int, str], bounds: dict[str, float]) -> None:
        job, attempt, host = key
        arguments = {"job": job, "attempt": attempt, "otherwise": 30.0, "communicators": bounds}
        try:
            self._orders.give(host, "bounds", arguments, who=WHO, seconds=LIFE_SECONDS)
        except StoreError as error:  # it is tried again in a minute; agents without bounds use a short one
            _log.warning("bounds not given", host=host, error=str(error))
            return
        self._told[key] = bounds


def _differ(new: dict[str, float], old: dict[str, float]) -> bool:
    return any(abs(value - old.get(comm, 0.0)) > CHANGED * value for comm, value in new.items())
