"""Reading pickles of plain values from anybody, without running anything and without filling the memory."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from typing import Any, NoReturn

from offbeat.analyzer.readers.errors import ReadError

_MAX_MEMO = 1 << 22
"""Highest memo index a pickle may name. The interpreter allocates the memo up to the highest index it meets, so
five bytes could otherwise ask for tens of gigabytes."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise ReadError(f"refused class {module_name[:80]}.{global_name[:80]}")


def loads(data: bytes) -> Any:
    """Return the value in *data*: dicts, lists, tuples, strings, numbers, booleans and None only.

    Raises:
        ReadError: It is no complete pickle, names a class, or asks for more memory than its own size justifies.
    """
    _check_memo(data)
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except ReadError:
        raise
    except Exception as error:  # noqa: BLE001 - a pickle is a program: a broken one raises nearly anything
        raise ReadError(f"not a readable pickle: {type(error).__name__}: {error}"[:160]) from None


def _opcodes() -> tuple[re.Pattern[bytes], dict[int, int], dict[int, int]]:
    """Return a pattern for runs of opcodes of fixed length; the width of the length of sized ones; others' lines."""
    plain: dict[int, bytearray] = {}
    sized, lines = {}, {}
    for opcode in pickletools.opcodes:
        code, size = ord(opcode.code), 0 if opcode.arg is None else opcode.arg.n
        if opcode.name in {"STOP", "LONG_BINPUT", "PUT"}:
            continue
        if size >= 0:
            plain.setdefault(size, bytearray()).append(code)
        elif size == pickletools.UP_TO_NEWLINE:
            lines[code] = 2 if opcode.arg and "pair" in opcode.arg.name else 1
        else:
            sized[code] = {
                pickletools.TAKEN_FROM_ARGUMENT1: 1,
                pickletools.TAKEN_FROM_ARGUMENT4: 4,
                pickletools.TAKEN_FROM_ARGUMENT4U: 4,
                pickletools.TAKEN_FROM_ARGUMENT8U: 8,
            }[size]
    kinds = [b"\\x8a\x08.{8}"]  # 64-bit times, the commonest of the sized ones
    kinds += [b"[" + re.escape(bytes(codes)) + b"].{%d}" % size for size, codes in sorted(plain.items())]
    highest = _MAX_MEMO.bit_length() - 17  # bits of the third byte of an index: the fourth must be zero
    kinds.append(b"r..[\\x00-\\x%02x]\\x00" % ((1 << highest) - 1))
    return re.compile(b"(?:" + b"|".join(kinds) + b")*+", re.DOTALL), sized, lines


_RUN, _SIZED, _LINES = _opcodes()


def _check_memo(data: bytes) -> None:
    """Walk the opcodes without executing them: one match of a pattern a run, hence fast."""
    at = 0
    while at < len(data):
        run = _RUN.match(data, at)
        at = run.end() if run else at
        if at >= len(data) or data[at : at + 1] == b".":
            return
        code = data[at]
        if code in _SIZED:
            width = _SIZED[code]
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
        elif code in _LINES:
            for _ in range(_LINES[code]):
                at = data.find(b"\n", at) + 1
                if not at:
                    return  # cut off: the unpickler says so
        elif code == ord("p") and re.compile(rb"\d{1,6}\n").match(data, at + 1):
            at = data.find(b"\n", at) + 1
        elif code in b"pr":
            raise ReadError("refused a pickle that names an absurd memo index")
        else:
            return  # no opcode, or one cut off: the unpickler says so
