"""Arithmetic in GF(2^8) with the polynomial 0x11d, as ISA-L has it: matrices, and products where there is no ISA-L.

The matrices are made here on all hosts, so that parity has the same bytes whether a host has the library or not.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.uint8]

POLYNOMIAL = 0x11D


def _tables() -> tuple[list[int], list[int]]:
    powers, logs, value = [0] * 510, [0] * 256, 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logs[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return powers, logs


_POWERS, _LOGS = _tables()


def multiply(a: int, b: int) -> int:
    """Return the product of two elements."""
    return _POWERS[_LOGS[a] + _LOGS[b]] if a and b else 0


def inverse(a: int) -> int:
    """Return the inverse of an element other than 0."""
    return _POWERS[255 - _LOGS[a]]


def generator(k: int, m: int) -> list[list[int]]:
    """Return the k + m rows of the systematic code: the first k are the identity.

    For m <= 2 the parity rows are XOR and RAID-6's Q (1, 2, 4, …), as ISA-L's `gf_gen_rs_matrix` makes them; above, a
    Cauchy matrix as `gf_gen_cauchy1_matrix` makes it. Any k rows of either can be inverted; Vandermonde rows beyond the
    second cannot always (isa-l issues 10, 40, 46), and are not used.

    Raises:
        ValueError: There is no such code: k or m below 1, or more than 255 rows.
    """
    if k < 1 or m < 1 or k + m > 255:
        raise ValueError(f"{k}+{m}: k and m are at least 1, and k + m at most 255")
    rows = [[int(i == j) for j in range(k)] for i in range(k)]
    if m <= 2:
        return rows + [[_POWERS[(i * j) % 255] for j in range(k)] for i in range(m)]
    return rows + [[inverse(i ^ j) for j in range(k)] for i in range(k, k + m)]


def inverted(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the inverse of a square matrix.

    Raises:
        ValueError: It has none.
    """
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next((r for r in range(column, size) if rows[r][column]), None)
        if pivot is None:
            raise ValueError("the matrix has no inverse")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = inverse(rows[column][column])
        rows[column] = [multiply(scale, value) for value in rows[column]]
        for r in range(size):
            factor = rows[r][column]
            if r != column and factor:
                rows[r] = [a ^ multiply(factor, b) for a, b in zip(rows[r], rows[column], strict=True)]
    return [row[size:] for row in rows]


@functools.lru_cache(maxsize=512)
def _products(factor: int) -> NDArray[np.uint16]:
    """Return the products of *factor* with two bytes at once, for all 65,536 pairs."""
    one = np.array([multiply(factor, value) for value in range(256)], np.uint16)
    pairs: NDArray[np.uint16] = ((one[:, None] << np.uint16(8)) | one[None, :]).reshape(-1)
    return pairs


def add_product(target: Vector, factor: int, source: Vector) -> None:
    """Add *factor* times *source* to *target*, in place; numpy only, about 1.5 GB/s."""
    if factor == 0:
        return
    if factor == 1:
        np.bitwise_xor(target, source, out=target)
        return
    even = len(source) & ~1
    pairs = _products(factor)[source[:even].view(np.uint16)]
    np.bitwise_xor(target[:even], pairs.view(np.uint8), out=target[:even])
    if even != len(source):
        target[-1] ^= multiply(factor, int(source[-1]))
