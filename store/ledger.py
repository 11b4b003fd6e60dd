"""The ledger: which batches of which agent are safe, so that each is stored once however often it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from offbeat.store.rows import Receipt
from offbeat.store.tables import Batches, Claims, Incarnations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from offbeat.store.engine import Database

GRACE_NS = 10_000_000_000
"""How far past its successor's start an agent's records may reach; without it a restart looks like two agents."""
REMEMBERED_NS = 8 * 86_400_000_000_000
"""How long an agent's run is remembered after its last batch: longer than any agent may keep a batch in its spool, or
one whose answer was lost would be stored a second time."""
ALIVE_NS = 60_000_000_000
"""How long after its last batch an agent counts as alive. Without it an agent whose clock was once set back would be
taken for a pretender for ever, its predecessor's start being later than its own."""


@dataclass(slots=True)
class Ask:
    """A batch that wants in: its id, when it was received and the newest time in it (ns); then what became of it.

    `gap` numbers right before `n` will not come any more, and an `empty` batch stands for one that was given up. The
    `sender` is the run that sends it: its own, or a later one that found it in the spool.
    """

    host: str
    incarnation: int
    n: int
    received_at: int
    newest_at: int | None = None
    gap: int = 0
    empty: bool = False
    sender: int | None = None
    receipt: Receipt | None = None
    taken: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """The agent's run."""
        return self.host, self.incarnation


@dataclass(slots=True)
class _Run:
    durable: int
    last_received: int
    lost: int = 0


def admit(database: Database, connection: sa.Connection, asks: Sequence[Ask], log: str) -> list[Ask]:
    """Enter *asks* as batches of *log* and fill in their receipts.

    An ask of an agent that is not the newest of its host, though both are alive, is refused: `taken` names the newest.

    Returns:
        Those that are new; they are the ones to store.
    """
    runs = _lock(database, connection, asks)
    ahead = _ahead(connection, asks)
    gaps = {key for key, waiting in ahead.items() if waiting}
    fresh: list[Ask] = []
    for ask in asks:
        run, waiting = runs[ask.key], ahead.setdefault(ask.key, set())
        newest = max((incarnation for host, incarnation in runs if host == ask.host), default=ask.incarnation)
        if _pretends(ask, newest, runs[ask.host, newest]):
            ask.taken = newest
            _claim(database, connection, ask)
            continue
        given_up = _close_gap(run, waiting, ask)
        duplicate = ask.n <= run.durable or ask.n in waiting
        if not duplicate:
            fresh.append(ask)
            waiting.add(ask.n)
            given_up += ask.empty
        run.lost += given_up
        _advance(run, waiting)
        run.last_received = max(run.last_received, ask.received_at)
        ask.receipt = Receipt(run.durable, duplicate, given_up)
    _enter(connection, fresh, log)
    _note(connection, {ask.key for ask in asks if ask.receipt is not None}, runs, gaps)
    return fresh


def lost(connection: sa.Connection, host: str) -> int:
    """Return how many batches of *host* its agents gave up, as far back as their runs are remembered."""
    total = sa.select(sa.func.sum(Incarnations.lost)).where(Incarnations.host == host)
    return int(connection.execute(total).scalar_one() or 0)


def entered(connection: sa.Connection, log: str) -> set[tuple[str, int, int]]:
    """Return the ids (host, incarnation, n) of the batches that count as stored in *log*."""
    found = connection.execute(sa.select(Batches.host, Batches.incarnation, Batches.n).where(Batches.log == log))
    return {(host, incarnation, n) for host, incarnation, n in found}


def sealed(connection: sa.Connection, log: str) -> None:
    """Forget *log*: of its batches only those remain whose predecessors have not come yet."""
    passed = sa.exists().where(
        Incarnations.host == Batches.host,
        Incarnations.incarnation == Batches.incarnation,
        Incarnations.durable >= Batches.n,
    )
    connection.execute(sa.delete(Batches).where(Batches.log == log, passed))
    connection.execute(sa.update(Batches).where(Batches.log == log).values(log=""))


def forget(connection: sa.Connection, before: int) -> None:
    """Forget agents' runs last heard before *before* (ns), except each host's newest."""
    other = aliased(Incarnations)
    superseded = sa.exists().where(other.host == Incarnations.host, other.incarnation > Incarnations.incarnation)
    old = sa.delete(Incarnations).where(Incarnations.last_received < before, superseded)
    for host, incarnation in connection.execute(old.returning(Incarnations.host, Incarnations.incarnation)).all():
        connection.execute(
            sa.delete(Batches).where(Batches.host == host, Batches.incarnation == incarnation, Batches.log == "")
        )
    connection.execute(sa.delete(Claims).where(Claims.at < before))


def _lock(database: Database, connection: sa.Connection, asks: Sequence[Ask]) -> dict[tuple[str, int], _Run]:
    """Return all runs of the hosts that ask; no other process can enter a batch of them until the commit."""
    hosts = {"hosts": sorted({ask.host for ask in asks})}
    runs = _runs(connection, hosts)
    missing = sorted({(*ask.key, ask.received_at) for ask in asks if ask.key not in runs})
    if missing:
        values = [
            {
                "host": host,
                "incarnation": incarnation,
                "durable": 0,
                "lost": 0,
                "first_received": at,
                "last_received": 0,
            }
            for host, incarnation, at in missing
        ]
        connection.execute(database.insert(Incarnations).on_conflict_do_nothing(), values)
        runs = _runs(connection, hosts)
    return runs


def _runs(connection: sa.Connection, hosts: dict[str, list[str]]) -> dict[tuple[str, int], _Run]:
    return {
        (host, incarnation): _Run(durable, last, lost)
        for host, incarnation, durable, last, lost in connection.execute(_RUNS, hosts)
    }


def _ahead(connection: sa.Connection, asks: Sequence[Ask]) -> dict[tuple[str, int], set[int]]:
    """Return, by run, the batches stored although an earlier one is missing.

    A statement of its own, after the lock: only then does it see what was entered while the lock was waited for.
    """
    found: dict[tuple[str, int], set[int]] = {}
    for host, incarnation, n in connection.execute(_AHEAD, {"hosts": sorted({ask.host for ask in asks})}):
        found.setdefault((host, incarnation), set()).add(n)
    return found


def _close_gap(run: _Run, waiting: set[int], ask: Ask) -> int:
    """Let `durable` pass numbers that the agent says will not come; return how many of them never came.

    Only where nothing before them is missing, too: their agent tells again, with the first batch that it still has.
    """
    end = ask.n - 1
    if not run.durable < end <= run.durable + ask.gap:
        return 0
    came = {n for n in waiting if n <= end}
    given_up = end - run.durable - len(came)
    waiting -= came
    run.durable = end
    return given_up


def _advance(run: _Run, waiting: set[int]) -> None:
    while run.durable + 1 in waiting:
        run.durable += 1
        waiting.discard(run.durable)


def _pretends(ask: Ask, newest: int, run: _Run) -> bool:
    if max(ask.incarnation, ask.sender or 0) >= newest or ask.newest_at is None:
        return False
    return ask.newest_at > newest + GRACE_NS and ask.received_at - run.last_received < ALIVE_NS


def _claim(database: Database, connection: sa.Connection, ask: Ask) -> None:
    values = {"taken": ask.taken, "refused": ask.incarnation, "at": ask.received_at}
    statement = database.insert(Claims).values(host=ask.host, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[Claims.host], set_=values))


def _enter(connection: sa.Connection, fresh: Sequence[Ask], log: str) -> None:
    if fresh:
        connection.execute(
            _ENTER, [{"host": ask.host, "incarnation": ask.incarnation, "n": ask.n, "log": log} for ask in fresh]
        )


def _note(
    connection: sa.Connection,
    heard: set[tuple[str, int]],
    runs: dict[tuple[str, int], _Run],
    gaps: set[tuple[str, int]],
) -> None:
    if not heard:
        return
    connection.execute(
        _ADVANCE,
        [
            {
                "of": host,
                "run": incarnation,
                "durable": run.durable,
                "lost": run.lost,
                "last_received": run.last_received,
            }
            for host, incarnation in sorted(heard)
            for run in (runs[host, incarnation],)
        ],
    )
    closed = [{"of": key[0], "run": key[1], "durable": runs[key].durable} for key in sorted(heard & gaps)]
    if closed:
        connection.execute(_FORGET_SEALED, closed)


# Built once: building a statement costs more than running it, and these run for every batch.
_RUNS = (
    sa.select(
        Incarnations.host, Incarnations.incarnation, Incarnations.durable, Incarnations.last_received, Incarnations.lost
    )
    .where(Incarnations.host.in_(sa.bindparam("hosts", expanding=True)))
    .order_by(Incarnations.host, Incarnations.incarnation)  # one order, so that no two replicas wait for each other
    .with_for_update()
)
_AHEAD = (
    sa.select(Batches.host, Batches.incarnation, Batches.n)
    .join(
        Incarnations,
        (Incarnations.host == Batches.host)
        & (Incarnations.incarnation == Batches.incarnation)
        & (Batches.n > Incarnations.durable),
    )
    .where(Batches.host.in_(sa.bindparam("hosts", expanding=True)))
)
_ENTER = sa.insert(Batches)
_ADVANCE = (
    sa.update(Incarnations)
    .where(Incarnations.host == sa.bindparam("of"), Incarnations.incarnation == sa.bindparam("run"))
    .values(durable=sa.bindparam("durable"), last_received=sa.bindparam("last_received"), lost=sa.bindparam("lost"))
)
_FORGET_SEALED = sa.delete(Batches).where(
    Batches.host == sa.bindparam("of"),
    Batches.incarnation == sa.bindparam("run"),
    Batches.n <= sa.bindparam("durable"),
    Batches.log == "",
)
