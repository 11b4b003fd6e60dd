"""Which network namespace an agent serves: several "hosts" on one machine share its files and its process ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.collector import procfs

if TYPE_CHECKING:
    from pathlib import Path


def served(proc: Path, named: Path) -> int | None:
    """Return the namespace whose processes alone are this agent's, None when all of the machine's are.

    An agent in the first namespace of the machine is the machine's. One in another serves that one only: if the first
    process of the machine is seen to live elsewhere, or, where that may not be seen, if its namespace has a name.

    Args:
        proc: The proc file system.
        named: Where `ip netns` keeps named namespaces.
    """
    own = procfs.namespace(proc / "self" / "ns" / "net")
    first = procfs.namespace(proc / "1" / "ns" / "net")
    if own is None or own == first:
        return None
    if first is not None:
        return own
    try:
        names = [procfs.namespace(path) for path in named.iterdir()]
    except OSError:
        return None
    return own if own in names else None
