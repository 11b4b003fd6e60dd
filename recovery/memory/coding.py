"""Reed-Solomon k + m over chunks: any k of the k + m shards give back the other m, bit for bit.

Parity grows by one source after the other (`add`), as chunks arrive, and a lost shard likewise from what survives: both
are one linear combination, which may be summed on the way from host to host.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from offbeat.recovery.memory import galois, isal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.uint8]

CHUNK = 1 << 20
"""Bytes coded, checked and sent at once: with 64 KiB a tenth of the speed is lost, with 16 MiB nothing is won."""


class CodingError(ValueError):
    """Shards cannot be combined as asked."""


class Code:
    """One code k + m. Shards are numbered 0 to k - 1 (data) and k to k + m - 1 (parity)."""

    def __init__(self, k: int, m: int) -> None:
        """Make the code.

        Raises:
            ValueError: There is no such code.
        """
        self.k, self.m = k, m
        self.rows = galois.generator(k, m)
        self._known: dict[tuple[int, tuple[int, ...]], list[int]] = {}

    def coefficients(self, wanted: int, present: Sequence[int]) -> list[int]:
        """Return the factors by which *present* shards sum up to shard *wanted*.

        Raises:
            CodingError: *present* is not k different shards.
        """
        if len(set(present)) != self.k or len(present) != self.k or not set(present) <= set(range(self.k + self.m)):
            raise CodingError(f"{self.k} different shards are needed, not {list(present)}")
        key = wanted, tuple(present)
        if key not in self._known:  # the same for every chunk of a rebuild
            turned = galois.inverted([self.rows[shard] for shard in present])
            row = self.rows[wanted]
            self._known[key] = [
                functools.reduce(lambda a, b: a ^ b, (galois.multiply(row[i], turned[i][j]) for i in range(self.k)))
                for j in range(self.k)
            ]
        return self._known[key]

    def encode(self, data: Sequence[Vector], parity: Sequence[Vector]) -> None:
        """Write the m shards *parity* from the k shards *data*, all contiguous and of one length."""
        combine(self.rows[self.k :], data, parity)

    def decode(self, shards: dict[int, Vector], lost: dict[int, Vector]) -> None:
        """Write the *lost* shards from any k of *shards*.

        Raises:
            CodingError: Fewer than k shards are there.
        """
        present = sorted(shards)[: self.k]
        rows = [self.coefficients(shard, present) for shard in lost]
        combine(rows, [shards[shard] for shard in present], list(lost.values()))


def combine(rows: Sequence[Sequence[int]], sources: Sequence[Vector], targets: Sequence[Vector]) -> None:
    """Write into each of *targets* the sum of *sources*, each times its factor in the target's row.

    Args:
        rows: One row a target, one factor a source.
        sources: Contiguous, all of one length below 2 GiB.
        targets: Likewise; none is a source.
    """
    length = _length([*sources, *targets])
    found = isal.library()
    if found is None:
        for row, target in zip(rows, targets, strict=True):
            target[:] = 0
            for factor, source in zip(row, sources, strict=True):
                galois.add_product(target, factor, source)
        return
    tables = _tables(tuple(map(tuple, rows)))
    come, go = _addresses(sources), _addresses(targets)  # named: the call must not outlive them
    found.ec_encode_data(length, len(sources), len(targets), tables.ctypes.data, come.ctypes.data, go.ctypes.data)


def add(target: Vector, factor: int, source: Vector) -> None:
    """Add *factor* times *source* to *target*, in place."""
    length = _length([target, source])
    found = isal.library()
    if found is None:
        galois.add_product(target, factor, source)
        return
    tables, pointer = _tables(((factor,),)), _addresses([target])
    found.ec_encode_data_update(length, 1, 1, 0, tables.ctypes.data, source.ctypes.data, pointer.ctypes.data)


@functools.lru_cache(maxsize=256)
def _tables(rows: tuple[tuple[int, ...], ...]) -> Vector:
    count, k = len(rows), len(rows[0])
    matrix, tables = np.array(rows, np.uint8), np.zeros(32 * k * count, np.uint8)
    found = isal.library()
    assert found is not None
    found.ec_init_tables(k, count, matrix.ctypes.data, tables.ctypes.data)
    return tables


def _addresses(vectors: Sequence[Vector]) -> NDArray[np.uint64]:
    return np.array([vector.ctypes.data for vector in vectors], np.uint64)


def _length(vectors: Sequence[Vector]) -> int:
    length = vectors[0].nbytes
    if any(v.nbytes != length or not v.flags.c_contiguous for v in vectors) or length >= 1 << 31:
        raise CodingError("shards must be contiguous, of one length, and below 2 GiB")
    return length
