"""The counters of a dump (`pg_status`): whose they are, and what they add to the recorded operations.

They are keyed by a number local to the process, and count whatever was launched last, collective or p2p. So they tell
how far a rank got only in groups without p2p, and where they agree with the operations that were recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from offbeat.analyzer.postmortem.communicators import Local, Part

    Identities = dict[int, dict[tuple[str, str], str]]


def identify(groups: Iterable[list[Local]]) -> Identities:
    """Return which counter belongs to which group of which process: rank → (name, description) → key.

    A process's own operations name both. For a group without any, the order of creation tells where names are
    numbers and all groups were used; else the number that the other members have for it.
    """
    groups = list(groups)
    known: Identities = {}
    for group in groups:
        for local in group:
            keys = known.setdefault(local.dump.rank, {})
            if local.entries and local.entries[0].pg_id >= 0:
                keys[local.name, local.desc] = str(local.entries[0].pg_id)
    own = {rank: {name: key for (name, _), key in keys.items()} for rank, keys in known.items()}
    for group in groups:
        told = {key for local in group if (key := known[local.dump.rank].get((local.name, local.desc))) is not None}
        for local in group:
            keys = known[local.dump.rank]
            if (local.name, local.desc) not in keys and (key := _guess(local, own[local.dump.rank], told)) is not None:
                keys[local.name, local.desc] = key
    return known


def _guess(local: Local, own: Mapping[str, str], told: set[str]) -> str | None:
    status, names = local.dump.status, [config.name for config in local.dump.configs if config.name]
    if not all(key.isdigit() for key in status) or (
        set(status) == set(names) and all(own.get(n, n) == n for n in names)
    ):
        return local.name if local.name in status else None  # keyed by name
    if len(status) == len(set(names)) == len(names) and all(name.isdigit() for name in names):
        by_order = dict(zip(sorted(names, key=int), sorted(status, key=int), strict=True))
        if all(by_order.get(name) == key for name, key in own.items()):
            return by_order.get(local.name)
    others = told & status.keys() - set(own.values())
    return others.pop() if len(told) == len(others) == 1 else None


def complete(parts: Mapping[int, Part], group: list[Local], identities: Identities) -> None:
    """Add to *parts* (of one communicator) what the counters tell, where they count what was recorded."""
    status = {
        local.dump.rank: local.dump.status.get(identities[local.dump.rank].get((local.name, local.desc), ""))
        for local in group
    }
    mixed = any(part.p2p or any(op.p2p_count for op in part.ops.values()) for part in parts.values())
    agree = all(counter is None or parts[rank].launched in {None, counter.enqueued} for rank, counter in status.items())
    for local in group:
        part, counter = parts[local.dump.rank], status[local.dump.rank]
        if counter is None:
            if part.launched is None and _never_used(local, identities):
                part.launched = part.done = -1
        elif mixed or not agree:
            continue
        elif part.launched is None:
            part.launched, part.done, part.counted = counter.enqueued, counter.completed, True
        elif part.ordered and not any(op.gave_up for op in part.waits):  # one that gave up is counted as completed
            part.done = max(-1 if part.done is None else part.done, min(counter.completed, part.launched))
            part.waits = [op for op in part.waits if op.seq > part.done]


def _never_used(local: Local, identities: Identities) -> bool:
    """Whether the dump would show the group had it been used: there are counters only for groups in use."""
    if local.dump.complete:
        return True
    keys = identities[local.dump.rank]
    return (
        bool(local.dump.status)
        and (local.name, local.desc) not in keys
        and set(keys.values()) >= local.dump.status.keys()
    )
