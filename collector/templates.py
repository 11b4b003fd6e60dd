"""What an order may make this node do: the templates that its own configuration allows, and nothing else."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from offbeat.orders import TEMPLATES, Bounds, DrillDown, OrderError, check

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pyarrow as pa

    from offbeat.collector.orders import Order
    from offbeat.collector.urgency import Urgency
    from offbeat.collector.window import Window

MINUTE = 60
"""Orders carried out within a minute, the rest is refused; without it a service gone wrong takes the node's time."""

_log = structlog.get_logger()


class Templates:
    """Carries out orders. What they do twice does no harm: bounds are set again, records sent again have equal keys."""

    def __init__(
        self,
        allowed: Collection[str],
        urgency: Urgency,
        window: Window,
        send: Callable[[dict[str, pa.Table]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            allowed: Words of the templates that may be carried out here.
            urgency: What learned bounds are for.
            window: What is kept of single operations.
            send: Takes what is to be sent.
            clock: Seconds that only grow.

        Raises:
            ValueError: There is no such template.
        """
        if unknown := set(allowed) - set(TEMPLATES):
            raise ValueError(f"orders: there is no template {min(unknown)!r}; there are {', '.join(TEMPLATES)}")
        self._allowed = set(allowed)
        self._urgency = urgency
        self._window = window
        self._send = send
        self._clock = clock
        self._carried_out: deque[float] = deque(maxlen=MINUTE)

    def carry_out(self, order: Order) -> tuple[str, dict[str, Any]]:
        """Do what *order* asks; return its state (done, failed, refused) and what there is to say."""
        if order.kind not in self._allowed:
            return "refused", {"why": f"this node's configuration does not allow {order.kind[:64]!r}"}
        now = self._clock()
        if len(self._carried_out) == MINUTE and now - self._carried_out[0] < 60:
            return "refused", {"why": f"{MINUTE} orders were carried out within a minute"}
        self._carried_out.append(now)
        try:
            arguments = check(order.kind, order.arguments)
        except OrderError as error:
            return "refused", {"why": str(error)}
        try:
            result = self._do(arguments)
        except Exception as error:  # noqa: BLE001 - whatever an order does, the agent goes on
            _log.warning("an order failed", order=order.id, kind=order.kind, exc_info=error)
            return "failed", {"why": f"{type(error).__name__}: {error}"[:500]}
        _log.info("order carried out", order=order.id, kind=order.kind, **result)
        return "done", result

    def _do(self, arguments: object) -> dict[str, Any]:
        match arguments:
            case Bounds():
                self._urgency.learn(arguments)
                return {"communicators": len(arguments.communicators)}
            case DrillDown():
                table = self._window.find(arguments)
                if table.num_rows:
                    self._send({"collectives": table})
                return {"rows": table.num_rows, "kept_from": self._window.kept_from}
        raise TypeError(f"no way to carry out {type(arguments).__name__}")
