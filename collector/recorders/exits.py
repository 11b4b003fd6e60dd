"""How the process ends, written into the ring while it still can: exit code, last exception. A kill leaves nothing.

A backend's thread that ends an operation while Python shuts down calls back into Python, which in Python before 3.14
ends that thread in the midst of C++: the process aborts, whatever code it was to exit with. Operations may be in flight
when a program fails, so then the rest of the shutdown is left out.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import TracebackType

    from offbeat.collector.recorders.session import Session


DRAIN_SECONDS = 2.0
"""How long a program that ended well waits for operations it left in flight; a peer that comes later finds us gone."""
_MOMENT = 0.01


class Exits:
    """The marks of one process."""

    def __init__(self, session: Session) -> None:
        """Put the marks in front of Python's ways out."""
        self._session = session
        self._pid = os.getpid()
        self._code = 0
        self._except_hook, self._thread_hook = sys.excepthook, threading.excepthook
        self._os_exit, self._sys_exit = os._exit, sys.exit
        sys.excepthook = self._exception
        threading.excepthook = self._thread_exception
        os._exit = self._leave_now
        sys.exit = self._leave
        atexit.register(self._at_exit)

    def mark(self, code: int, error: BaseException | None = None) -> None:
        """Note the exit code and, where it failed by an exception, which."""
        if os.getpid() != self._pid:
            return
        try:
            if error is not None:
                self._session.ring.message("exception", describe(error))
            self._session.ring.exit(code)
        except Exception as failure:  # noqa: BLE001 - never into training
            self._session.guard.failed("exit marks", failure)

    def will_leave(self, status: Any) -> None:
        """Take over the status of a SystemExit, for the mark that is left at the end."""
        self._code = exit_code(status)

    def _exception(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        # Ctrl-C ends Python by the signal itself.
        self._code = -signal.SIGINT if issubclass(kind, KeyboardInterrupt) else 1
        self.mark(self._code, error)
        self._except_hook(kind, error, traceback)

    def _thread_exception(self, args: Any) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit) and os.getpid() == self._pid:
            self._session.ring.message("exception", f"{describe(args.exc_value)} (in a thread)")
        self._thread_hook(args)

    def _leave_now(self, status: int) -> NoReturn:
        self.mark(int(status) & 0xFF, sys.exc_info()[1] if status else None)
        self._os_exit(status)

    def _leave(self, status: Any = None) -> NoReturn:
        self._code = exit_code(status)
        error = SystemExit(status) if isinstance(status, str) else sys.exc_info()[1]
        if self._code and error is not None and os.getpid() == self._pid:
            self._session.ring.message("exception", describe(error))
        self._sys_exit(status)

    def _at_exit(self) -> None:
        self.mark(self._code)
        pending = self._session.works.pending
        if os.getpid() != self._pid or not pending:
            return
        if self._code:
            self._leave_at_once()
        deadline = time.monotonic() + DRAIN_SECONDS
        while pending and time.monotonic() < deadline:
            time.sleep(_MOMENT)
        time.sleep(_MOMENT)  # the last callback takes itself off the list before it returns

    def _leave_at_once(self) -> NoReturn:
        """Do what Python and its library would still do for others, and end the process."""
        for module, function in (("multiprocessing.util", "_exit_function"), ("logging", "shutdown")):
            with contextlib.suppress(Exception):
                getattr(sys.modules[module], function)()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if self._code < 0:
            signal.signal(-self._code, signal.SIG_DFL)
            os.kill(os.getpid(), -self._code)
        self._os_exit(self._code)


def exit_code(status: Any) -> int:
    """Return the code Python exits with for an argument of `sys.exit`."""
    if status is None:
        return 0
    return status & 0xFF if isinstance(status, int) else 1


def describe(error: BaseException) -> str:
    """Return an exception as one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own text fails
        text = ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name
