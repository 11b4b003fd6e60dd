"""ISA-L, Intel's library of SIMD kernels for erasure codes and checksums, through ctypes.

It comes inside the wheel of pyeclib, whose own API copies every fragment; the system's `libisal.so.2` serves as well.
The calls release the interpreter's lock. Signatures: isa-l 2.32, `erasure_code.h`, `crc.h`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_INT, _ADDRESS, _U32, _U64 = ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ec_init_tables": (None, (_INT, _INT, _ADDRESS, _ADDRESS)),
    "ec_encode_data": (None, (_INT, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS)),
    "ec_encode_data_update": (None, (_INT, _INT, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS)),
    "crc32_gzip_refl": (_U32, (_U32, _ADDRESS, _U64)),
}


@functools.cache
def library() -> Any | None:
    """Return the loaded library, or None where there is none that does what it should."""
    for path in _candidates():
        try:
            found = ctypes.CDLL(path)
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(found, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        if _works(found):
            return found
    return None


def _candidates() -> Iterator[str]:
    spec = importlib.util.find_spec("pyeclib")
    for place in spec.submodule_search_locations or [] if spec else []:
        yield from map(str, sorted(Path(place).parent.glob("pyeclib.libs/libisal*")))
    yield "libisal.so.2"


def _works(found: Any) -> bool:
    """Try a known product and a known checksum: a library that computes something else corrupts silently."""
    data, out = np.arange(64, dtype=np.uint8), np.zeros(64, np.uint8)
    tables = np.zeros(32, np.uint8)
    two = np.array([2], np.uint8)
    sources, targets = (np.array([array.ctypes.data], np.uint64) for array in (data, out))
    found.ec_init_tables(1, 1, two.ctypes.data, tables.ctypes.data)
    found.ec_encode_data(64, 1, 1, tables.ctypes.data, sources.ctypes.data, targets.ctypes.data)
    right = np.array_equal(out, data * 2)  # below 128 the product by 2 is a shift, with no reduction
    return right and found.crc32_gzip_refl(0, data.ctypes.data, 64) == zlib.crc32(data.data)


def crc32(data: NDArray[np.uint8], before: int = 0) -> int:
    """Return zlib's CRC-32 of contiguous bytes, several times as fast.

    Args:
        data: The bytes.
        before: The checksum of what precedes them.
    """
    found = library()
    if found is None:
        return zlib.crc32(data.data, before)
    return int(found.crc32_gzip_refl(before, data.ctypes.data, data.nbytes))
