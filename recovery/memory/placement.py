"""Who codes with whom: groups of hosts, and which of their losses the job survives.

In a group of G >= k + m hosts there are G stripes; stripe s lies on hosts s, s + 1, … (modulo G), its k data shards
first, then its m parity shards. So each host's state is cut into k pieces, piece j being data shard j of stripe
host - j, and each host keeps m pieces of parity: its own share of what the group pays, m / k of its state.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Host(NamedTuple):
    """A host and what it fails with: domain kind (rack, leaf, power, pipeline stage, …) → which one."""

    name: str
    domains: Mapping[str, str] = {}


def default_code(hosts: int) -> tuple[int, int]:
    """Return k and m for so many hosts.

    Single parity only where two or three hosts leave no choice: it is worse than pairs.

    Raises:
        ValueError: One host alone has nobody to code with.
    """
    if hosts < 2:
        raise ValueError("one host alone has nobody to code with")
    for least, code in ((10, (8, 2)), (6, (4, 2)), (4, (2, 2)), (3, (2, 1))):
        if hosts >= least:
            return code
    return 1, 1


def groups(hosts: Sequence[Host], k: int, m: int) -> list[list[str]]:
    """Divide hosts into groups of k + m or a few more, hosts of one domain spread over as many groups as there are.

    Hosts are sorted by their domains and dealt like cards, so that of d hosts in one rack (or leaf, or power feed
    within which racks lie) at most ⌈d / groups⌉ come into one group. The order they are given in does not matter.

    Raises:
        ValueError: They are too few, or a name appears twice.
    """
    if len({host.name for host in hosts}) != len(hosts):
        raise ValueError("a host appears twice")
    count = len(hosts) // (k + m)
    if not count:
        raise ValueError(f"{k}+{m} takes {k + m} hosts, there are {len(hosts)}")
    # Kinds with fewer, larger domains first: a power feed before the racks that it feeds.
    found = {kind for host in hosts for kind in host.domains}
    kinds = sorted(found, key=lambda kind: (len({host.domains.get(kind) for host in hosts}), kind))
    dealt = sorted(hosts, key=lambda host: ([host.domains.get(kind, "") for kind in kinds], host.name))
    return [[host.name for host in dealt[group::count]] for group in range(count)]


def holders(stripe: int, size: int, k: int, m: int) -> list[int]:
    """Return which member of a group of *size* holds each of the k + m shards of *stripe*."""
    return [(stripe + shard) % size for shard in range(k + m)]


def data_stripe(member: int, piece: int, size: int) -> int:
    """Return the stripe in which *piece* of a member's state is the data shard of the same number."""
    return (member - piece) % size


def parity_stripe(member: int, piece: int, size: int, k: int) -> int:
    """Return the stripe whose parity shard k + *piece* lies with *member*."""
    return (member - k - piece) % size


def survives(lost: Iterable[int], size: int, k: int, m: int) -> bool:
    """Tell whether a group of *size* gives back everything when the members *lost* are gone."""
    gone = set(lost)
    return all(sum(member in gone for member in holders(stripe, size, k, m)) <= m for stripe in range(size))


@lru_cache(maxsize=256)
def _survived(size: int, k: int, m: int) -> tuple[int, ...]:
    """Return how many sets of 0, 1, … lost members a group survives."""
    if size == k + m:
        return tuple(math.comb(size, count) if count <= m else 0 for count in range(size + 1))
    counts = [math.comb(size, count) if count <= m else 0 for count in range(size + 1)]
    for count in range(m + 1, size - k + 1):  # less than k left is too few for every stripe
        counts[count] = sum(survives(lost, size, k, m) for lost in itertools.combinations(range(size), count))
    return tuple(counts)


def survival(sizes: Sequence[int], k: int, m: int, failures: int) -> float:
    """Return the probability that the job survives exactly *failures* hosts lost at once, all sets equally likely.

    The coefficient of x^failures in the product of the groups' polynomials, over all ways to lose as many. Losses that
    have one cause are likelier together than this says; see `fatal_domains`.
    """
    ways = [1]
    for size in sizes:
        group = _survived(size, k, m)
        ways = [
            sum(ways[i] * group[total - i] for i in range(len(ways)) if 0 <= total - i < len(group))
            for total in range(len(ways) + len(group) - 1)
        ]
    total = math.comb(sum(sizes), failures)
    return ways[failures] / total if failures < len(ways) and total else 0.0


def fatal_domains(hosts: Sequence[Host], grouped: Sequence[Sequence[str]], k: int, m: int) -> list[str]:
    """Return the domains whose loss as a whole the job does not survive, as `rack a: 3 hosts of one group`."""
    found = []
    members = Counter((kind, name) for host in hosts for kind, name in host.domains.items())
    for kind, name in sorted(members):
        inside = {host.name for host in hosts if host.domains.get(kind) == name}
        for group in grouped:
            lost = [index for index, host in enumerate(group) if host in inside]
            if not survives(lost, len(group), k, m):
                found.append(f"{kind} {name}: {len(lost)} hosts of one group")
                break
    return found
