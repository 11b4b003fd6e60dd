"""Run a training program under the recorder, without a change to it: `python -m offbeat.run train.py …`.

The program sees what it would see under plain Python: its arguments, its import path, itself as `__main__`, its own
tracebacks and exit code.
"""

from __future__ import annotations

import importlib.util
import io
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from offbeat.collector.recorders import torch as recorder

USAGE = "usage: python -m offbeat.run [-m MODULE | SCRIPT] [ARGUMENT …]"
EX_USAGE = 64


def main(arguments: list[str]) -> None:
    """Record this process and run the program that *arguments* name.

    Raises:
        SystemExit: The program left by it, or there is no program.
    """
    if not arguments or arguments[0] in {"-h", "--help"} or arguments == ["-m"]:
        print(USAGE, file=sys.stdout if "-h" in arguments or "--help" in arguments else sys.stderr)
        sys.exit(0 if "-h" in arguments or "--help" in arguments else EX_USAGE)
    recorder.record()
    _hide_our_frames()
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            _run_module(arguments[1])
        else:
            sys.argv = arguments
            _run_script(arguments[0])
    except SystemExit as leaving:
        exits = recorder.exits()
        if exits is not None:
            exits.will_leave(leaving.code)
        raise


def _run_module(name: str) -> None:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise  # a package on the way to the module misses something of its own
        found = None
    if found is None:
        _refuse(f"{sys.executable}: No module named {name}", 1)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_script(path: str) -> None:
    if Path(path).is_dir() or path.endswith((".zip", ".pyz")):
        runpy.run_path(path, run_name="__main__")
        return
    try:
        with io.open_code(os.path.abspath(path)) as file:  # noqa: PTH100 - the path as Python itself would show it
            source = file.read()
    except OSError as error:
        _refuse(f"{sys.executable}: can't open file {os.path.abspath(path)!r}: [Errno {error.errno}] {error.strerror}")  # noqa: PTH100 - as above
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))  # noqa: PTH120 - as Python does it
    # For good, unlike runpy: threads and exit handlers of the program outlive its last line, and workers that are
    # spawned look for it by its name.
    program = ModuleType("__main__")
    program.__dict__.update(__file__=os.path.abspath(path), __builtins__=__builtins__, __cached__=None)  # noqa: PTH100 - as above
    sys.modules["__main__"] = program
    exec(compile(source, os.path.abspath(path), "exec"), program.__dict__)  # noqa: S102, PTH100 - what this is for


def _refuse(text: str, code: int = 2) -> NoReturn:
    print(text, file=sys.stderr)  # noqa: T201 - as Python does it
    sys.exit(code)


def _hide_our_frames() -> None:
    """Let tracebacks begin where the program begins."""
    show = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> Any:
        inner = traceback
        while inner is not None and inner.tb_frame.f_code.co_filename in {__file__, "<frozen runpy>"}:
            inner = inner.tb_next
        if inner is not None or isinstance(error, SyntaxError):
            error.__traceback__ = traceback = inner
        show(kind, error, traceback)

    sys.excepthook = excepthook


if __name__ == "__main__":
    main(sys.argv[1:])
