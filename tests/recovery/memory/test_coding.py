"""Coding: any k of k + m shards restore the rest, with ISA-L and without, to the same bytes."""

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offbeat.recovery.memory import coding, galois, isal
from offbeat.recovery.memory.coding import Code, CodingError

CODES = [(1, 1), (2, 1), (2, 2), (3, 2), (4, 1), (4, 2), (4, 3), (5, 2), (8, 2), (6, 4)]


@pytest.fixture(params=["isa-l", "numpy"])
def library(request, monkeypatch):
    """Run with ISA-L, then as if it were not there."""
    if request.param == "numpy":
        monkeypatch.setattr(isal, "library", lambda: None)
    elif isal.library() is None:
        pytest.skip("ISA-L is not installed")
    return request.param


def shards(k, m, length, seed=0):
    """Return k random data shards and their m parity shards."""
    data = list(np.random.default_rng(seed).integers(0, 256, (k, length), np.uint8))
    parity = [np.empty(length, np.uint8) for _ in range(m)]
    Code(k, m).encode(data, parity)
    return data + parity


@pytest.mark.parametrize(("k", "m"), CODES)
def test_any_k_shards_restore_all_others(k, m, library):
    """For every set of m lost shards, the others give them back bit for bit."""
    whole = shards(k, m, 131)
    for lost in itertools.combinations(range(k + m), m):
        found = {shard: np.empty(131, np.uint8) for shard in lost}
        Code(k, m).decode({s: v for s, v in enumerate(whole) if s not in lost}, found)
        assert all(np.array_equal(whole[shard], value) for shard, value in found.items()), lost


@given(st.sampled_from(CODES), st.integers(0, 5000), st.integers(0, 2**32), st.data())
@settings(deadline=None, max_examples=60)
def test_partial_sums_in_any_order_restore_a_lost_shard(code, length, seed, data):
    """Adding one survivor after the other, in any order, gives the lost shard, as rebuilding along a chain does."""
    k, m = code
    whole = shards(k, m, length, seed)
    present = data.draw(st.permutations(range(k + m)))[:k]
    wanted = data.draw(st.sampled_from(sorted(set(range(k + m)) - set(present))))
    total = np.zeros(length, np.uint8)
    for shard, factor in zip(present, Code(k, m).coefficients(wanted, present), strict=True):
        coding.add(total, factor, whole[shard])
    assert np.array_equal(total, whole[wanted])


@pytest.mark.parametrize(("k", "m"), CODES)
def test_both_ways_make_the_same_parity(k, m, monkeypatch):
    """A host without ISA-L codes to the same bytes as one with it."""
    if isal.library() is None:
        pytest.skip("ISA-L is not installed")
    fast = shards(k, m, 4097)
    monkeypatch.setattr(isal, "library", lambda: None)
    assert all(map(np.array_equal, fast, shards(k, m, 4097)))


@pytest.mark.parametrize(("k", "m"), [(4, 1), (4, 2), (8, 2), (16, 2), (10, 4), (12, 4), (6, 3)])
def test_every_choice_of_k_rows_can_be_inverted(k, m):
    """The generator is that of an MDS code: no m losses are too many, which Vandermonde rows do not promise."""
    rows = galois.generator(k, m)
    for chosen in itertools.combinations(range(k + m), k):
        galois.inverted([rows[i] for i in chosen])


def test_the_generator_is_that_of_isa_l():
    """The rows equal those that ISA-L itself makes, so that other programs can read the parity."""
    found = isal.library()
    if found is None:
        pytest.skip("ISA-L is not installed")
    for k, m, make in ((8, 2, found.gf_gen_rs_matrix), (10, 4, found.gf_gen_cauchy1_matrix)):
        matrix = np.zeros((k + m, k), np.uint8)
        make(matrix.ctypes.data_as(__import__("ctypes").c_void_p), k + m, k)
        assert matrix.tolist() == galois.generator(k, m)


def test_two_shards_of_one_make_a_copy(library):
    """1+1 is replication."""
    data, parity = shards(1, 1, 77)
    assert np.array_equal(data, parity)


@given(st.integers(1, 255), st.integers(1, 255), st.integers(0, 255))
def test_the_field_is_one(a, b, c):
    """Products distribute over sums and inverses undo them."""
    assert galois.multiply(a, b ^ c) == galois.multiply(a, b) ^ galois.multiply(a, c)
    assert galois.multiply(galois.multiply(a, b), galois.inverse(b)) == a


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_checksums_are_those_of_zlib(content, before):
    """With the library or without, a host computes the checksum that zlib computes."""
    assert isal.crc32(np.frombuffer(content, np.uint8), before) == zlib.crc32(content, before)


def test_wrong_shards_are_refused():
    """Too few shards, shards twice, shards of two lengths and codes that do not exist are errors, not other bytes."""
    code = Code(2, 1)
    for present in ([0], [0, 0], [0, 7], [0, 1, 2]):
        with pytest.raises(CodingError):
            code.coefficients(2, present)
    with pytest.raises(CodingError):
        code.encode([np.zeros(4, np.uint8), np.zeros(5, np.uint8)], [np.zeros(4, np.uint8)])
    with pytest.raises(CodingError):
        code.encode([np.zeros(8, np.uint8)[::2], np.zeros(4, np.uint8)], [np.zeros(4, np.uint8)])
    with pytest.raises(ValueError, match="at least 1"):
        Code(0, 1)
    with pytest.raises(ValueError, match="no inverse"):
        galois.inverted([[1, 1], [1, 1]])
