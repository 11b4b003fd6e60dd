"""Placement: every host's state and parity is spread as it should be, and what is said to survive does survive."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.recovery.memory import placement
from offbeat.recovery.memory.placement import Host

SHAPES = st.integers(1, 5).flatmap(
    lambda k: st.integers(1, 3).flatmap(
        lambda m: st.tuples(st.integers(k + m, 2 * (k + m) - 1), st.just(k), st.just(m))
    )
)


@given(SHAPES)
def test_each_member_pays_its_share(shape):
    """In every group each member holds k pieces of data and m of parity, in stripes of k + m different members."""
    size, k, m = shape
    held = [placement.holders(stripe, size, k, m) for stripe in range(size)]
    assert all(len(set(members)) == k + m for members in held)
    for member in range(size):
        for piece in range(k):
            assert held[placement.data_stripe(member, piece, size)][piece] == member
        for piece in range(m):
            assert held[placement.parity_stripe(member, piece, size, k)][k + piece] == member
        assert sum(members.count(member) for members in held) == k + m


@given(SHAPES, st.data())
def test_any_m_losses_are_survived(shape, data):
    """A group of whatever size survives the loss of any m members, and never of more than are spared by k."""
    size, k, m = shape
    lost = data.draw(st.sets(st.integers(0, size - 1), max_size=size))
    if len(lost) <= m:
        assert placement.survives(lost, size, k, m)
    if len(lost) > size - k:
        assert not placement.survives(lost, size, k, m)


@pytest.mark.parametrize(
    ("copies", "failures", "expected"),
    [((1, 1), 2, 0.9333), ((1, 1), 3, 0.8), ((2, 2), 3, 0.9714), ((2, 2), 4, 0.8923)],
)
def test_survival_is_that_of_the_formula(copies, failures, expected):
    """Sixteen hosts in pairs survive two losses with 0.933 (GEMINI's Corollary 1), in groups of 2+2 with certainty."""
    k, m = copies
    assert placement.survival([k + m] * (16 // (k + m)), k, m, failures) == pytest.approx(expected, abs=1e-4)
    assert placement.survival([4] * 4, 2, 2, 2) == 1


@pytest.mark.parametrize(
    ("sizes", "k", "m", "failures"), [([5, 4], 2, 2, 3), ([7], 4, 2, 3), ([3, 3], 2, 1, 2), ([4], 1, 1, 2)]
)
def test_survival_counts_what_survives(sizes, k, m, failures):
    """The probability equals the share of all sets of lost hosts that every group survives."""
    hosts = [(group, member) for group, size in enumerate(sizes) for member in range(size)]
    good = sum(
        all(placement.survives([m_ for g, m_ in lost if g == group], size, k, m) for group, size in enumerate(sizes))
        for lost in itertools.combinations(hosts, failures)
    )
    assert placement.survival(sizes, k, m, failures) == pytest.approx(good / math.comb(len(hosts), failures))


def test_more_losses_than_hosts_are_not_survived():
    """There is no way to lose more hosts than there are."""
    assert placement.survival([2], 1, 1, 3) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=4, max_size=40), st.randoms())
def test_racks_are_spread(domains, random):
    """Of the hosts of one power feed or rack no group has more than its share, however the hosts are listed."""
    hosts = [Host(f"h{i:02}", {"power": power, "rack": power + rack}) for i, (power, rack) in enumerate(domains)]
    found = placement.groups(hosts, 2, 2)
    assert sorted(itertools.chain(*found)) == sorted(host.name for host in hosts)
    assert all(4 <= len(group) < 8 for group in found)
    for kind in ("power", "rack"):
        for name in {host.domains[kind] for host in hosts}:
            inside = {host.name for host in hosts if host.domains[kind] == name}
            assert max(len(inside & set(group)) for group in found) <= math.ceil(len(inside) / len(found))
    random.shuffle(hosts)
    assert placement.groups(hosts, 2, 2) == found


def test_fatal_domains_are_named():
    """A rack that takes three hosts of a 2+2 group with it is named; with racks of two nothing is."""
    hosts = [Host(f"h{i}", {"rack": "a" if i < 3 else "b"}) for i in range(4)]
    grouped = placement.groups(hosts, 2, 2)
    assert placement.fatal_domains(hosts, grouped, 2, 2) == ["rack a: 3 hosts of one group"]
    hosts = [Host(f"h{i}", {"rack": "ab"[i // 2]}) for i in range(4)]
    assert placement.fatal_domains(hosts, placement.groups(hosts, 2, 2), 2, 2) == []


def test_defaults_by_number_of_hosts():
    """The more hosts, the cheaper the code; one host has nobody."""
    codes = [placement.default_code(n) for n in (2, 3, 4, 5, 6, 9, 10, 1000)]
    assert codes == [(1, 1), (2, 1), (2, 2), (2, 2), (4, 2), (4, 2), (8, 2), (8, 2)]
    with pytest.raises(ValueError, match="nobody"):
        placement.default_code(1)
    with pytest.raises(ValueError, match="there are 3"):
        placement.groups([Host("a"), Host("b"), Host("c")], 2, 2)
    with pytest.raises(ValueError, match="twice"):
        placement.groups([Host("a"), Host("a")], 1, 1)
