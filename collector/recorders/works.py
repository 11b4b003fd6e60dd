"""When operations end: by their future, or, where there is none or torch waits at once, when the wait is over."""

from __future__ import annotations

import functools
import sys
import weakref
from threading import get_ident
from typing import TYPE_CHECKING, Any

from offbeat.collector.recorders.guard import untraced
from offbeat.collector.ring import layout

if TYPE_CHECKING:
    from offbeat.collector.recorders.groups import Group
    from offbeat.collector.recorders.guard import Guard
    from offbeat.collector.recorders.session import Session
    from offbeat.collector.ring.writer import RingWriter, Token

_FAILED = layout.COMPLETED | layout.FAILED << 8


class _Followed(weakref.ref[Any]):
    """A work somebody will wait for; dropped before that, its operation ends unknown."""

    __slots__ = ("key", "state", "token")
    key: int
    state: int
    token: Token


class Works:
    """The operations in flight, from torch's point of view."""

    def __init__(self, ring: RingWriter, guard: Guard) -> None:
        """Write ends into *ring*."""
        self._guard = guard
        self._end = ring.end
        self._followed: dict[int, _Followed] = {}
        self._kept: set[int] = set()
        self.pending: set[int] = set()
        """Operations whose end a callback will tell; none of them may come while Python shuts down."""
        self.waiting: dict[int, tuple[Any, Token]] = {}
        """Works torch waits for at once, by identity; kept alive till then, so that no other has the same."""

    def watch(self, token: Token, work: Any, group: Group, method: str, *, on_host: bool) -> None:
        """Note the end of an operation when it comes.

        Args:
            token: The operation.
            work: What torch returned for it, or None.
            group: Its group.
            method: Its native word.
            on_host: Its tensors are the host's. Else torch is done with it once it is queued on the device, and
                when it ended is not known here.
        """
        state = layout.COMPLETED
        if not on_host:
            state = layout.UNKNOWN
            self._guard.note("device operations are seen when they are queued; when they end is not known here")
        if work is None:
            self._end(token, layout.UNKNOWN)
        elif method in group.without_future:
            self._follow(work, token, state)
        else:
            try:
                future = work.get_future()
            except (RuntimeError, NotImplementedError):
                group.without_future.add(method)
                self._follow(work, token, state)
                return
            self.pending.add(token[1])

            def done(future: Any) -> None:
                if get_ident() not in self._kept:
                    self._keep_thread()
                try:
                    future.value()
                except Exception:  # noqa: BLE001 - the operation's own failure, which torch tells its caller
                    self._end(token, _FAILED)
                else:
                    self._end(token, state)
                self.pending.discard(token[1])

            future.add_done_callback(done)

    def waited(self, work: Any, *, failed: bool) -> None:
        """Note that somebody has waited for a work."""
        waiting = self.waiting.pop(id(work), None)
        if waiting is not None:
            self._end(waiting[1], _FAILED if failed else layout.COMPLETED)
        elif self._followed:
            followed = self._followed.pop(id(work), None)
            if followed is not None:
                self._end(followed.token, _FAILED if failed else followed.state)

    def _keep_thread(self) -> None:
        # The threads of a backend are none of Python's: each callback would make a thread state and throw it away,
        # which costs more than all the rest. One more hold on it makes it last as long as its thread.
        self._kept.add(get_ident())
        if sys.implementation.name == "cpython":
            import ctypes  # noqa: PLC0415 - once a thread

            ctypes.pythonapi.PyGILState_Ensure()

    def _follow(self, work: Any, token: Token, state: int) -> None:
        followed = _Followed(work, self._dropped)
        followed.key, followed.token, followed.state = id(work), token, state
        self._followed[followed.key] = followed

    def _dropped(self, followed: weakref.ref[Any]) -> None:
        if isinstance(followed, _Followed) and self._followed.pop(followed.key, None) is not None:
            self._end(followed.token, layout.UNKNOWN)


def wrap_wait(session: Session, original: Any) -> Any:
    """Return a `Work.wait` that notes the end of works that have no future."""

    @functools.wraps(original)
    def wait(work: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original(work, *args, **kwargs)
        except BaseException:
            session.works.waited(work, failed=True)
            raise
        session.works.waited(work, failed=False)
        return result

    return untraced(wait)
