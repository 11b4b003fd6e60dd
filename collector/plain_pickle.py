"""Reading pickles of plain values that anybody may have written: nothing is run, nothing is allocated unseen.

By the interpreter's own reader in Python: slower than the one in C, whose memo grows to whatever index a pickle names.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

MAX_BYTES = 8 << 20
"""Longest pickle read; reading takes about half a second for a megabyte of small values."""
_PLAIN = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE),
    *(pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE),
    *(pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET),
)


class _PlainUnpickler(pickle._Unpickler):  # noqa: SLF001 - the only reader whose opcodes can be restricted
    """Knows no opcode but those of plain values."""

    dispatch = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in _PLAIN}  # noqa: RUF012, SLF001 - as its base


def loads(data: bytes) -> Any:
    """Return the value in *data*: dicts, lists, tuples, strings, numbers, booleans and None only.

    Raises:
        ValueError: It is too long, no complete pickle, or holds anything else.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a pickle of {len(data) >> 20} MiB")
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # noqa: BLE001 - a pickle is a program: a broken one raises nearly anything
        raise ValueError(f"no pickle of plain values: {type(error).__name__}: {error}"[:200]) from None
