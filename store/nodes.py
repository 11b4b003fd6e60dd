"""Nodes: the hosts, as their agents describe them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from offbeat.store.ledger import ALIVE_NS
from offbeat.store.rows import Conflict, NodeRow
from offbeat.store.tables import Claims, Nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from offbeat.store.engine import Database


class NodeStore:
    """Rows of hosts."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Keep them in *database*."""
        self._database = database
        self._clock = clock

    def seen(
        self,
        host: str,
        at: int,
        incarnation: int,
        addresses: Sequence[str] = (),
        ranks: Sequence[int] = (),
        *,
        job: str = "",
    ) -> None:
        """Note a heartbeat.

        One that is older than what is known changes nothing, except that the host was seen that early.

        Args:
            host: The host.
            at: Time of the heartbeat, ns.
            incarnation: The agent's run.
            addresses: The host's addresses; none leaves the known ones.
            ranks: Global ranks of *job* alive there; none takes the job off the host.
            job: The job, empty where the agent sees none.
        """
        with self._database.write(durable=False) as connection:
            values = {"first_seen": at, "last_seen": at, "incarnation": incarnation, "addresses": [], "jobs": {}}
            connection.execute(self._database.insert(Nodes).values(host=host, **values).on_conflict_do_nothing())
            known = connection.execute(sa.select(Nodes).where(Nodes.host == host).with_for_update()).one()
            changed: dict[str, Any] = {"first_seen": min(at, known.first_seen)}
            if at >= known.last_seen:
                jobs = dict(known.jobs) if incarnation == known.incarnation else {}
                jobs.pop(job, None)
                if job and ranks:
                    jobs[job] = sorted(ranks)
                changed |= {
                    "last_seen": at,
                    "incarnation": incarnation,
                    "addresses": list(addresses) or known.addresses,
                    "jobs": jobs,
                }
            connection.execute(sa.update(Nodes).where(Nodes.host == host).values(changed))

    def list(self) -> tuple[NodeRow, ...]:
        """Return all hosts by name."""
        with self._database.read() as connection:
            return tuple(_node(row) for row in connection.execute(sa.select(Nodes).order_by(Nodes.host)))

    def get(self, host: str) -> NodeRow | None:
        """Return the host *host*, None if it was never seen."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(Nodes).where(Nodes.host == host)).one_or_none()
        return None if row is None else _node(row)

    def expire(self, before: int) -> None:
        """Forget hosts last seen before *before* (ns)."""
        with self._database.write(durable=False) as connection:
            connection.execute(sa.delete(Nodes).where(Nodes.last_seen < before))

    def conflict(self, host: str) -> Conflict | None:
        """Return who claims the name *host* besides its agent, None when nobody did lately."""
        query = sa.select(Claims).where(Claims.host == host, Claims.at > self._clock() - ALIVE_NS)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Conflict(row.host, row.taken, row.refused, row.at)


def _node(row: sa.Row[Any]) -> NodeRow:
    jobs = {job: tuple(ranks) for job, ranks in row.jobs.items()}
    return NodeRow(row.host, row.first_seen, row.last_seen, row.incarnation, tuple(row.addresses), jobs)
