"""Values as both databases can keep them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def storable(text: str) -> str:
    """Return *text* without what PostgreSQL cannot hold: null characters, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def plain(value: Any) -> Any:
    """Return *value* in plain JSON types.

    numpy values become Python's, tuples lists, keys text; what JSON has no word for (NaN, infinities) becomes None.
    """
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return storable(str(value))
    return value if value is None or isinstance(value, (bool, int)) else str(value)
