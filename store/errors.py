"""What can go wrong in the store, in words its callers can act on."""

from __future__ import annotations


class StoreError(Exception):
    """Anything the store could not do."""


class UnavailableError(StoreError):
    """The database or the disk does not answer now, or is behind; the same call may succeed later."""


class SchemaError(StoreError):
    """The database has another schema revision than this program; `offbeat db upgrade` brings it forward."""


class HostClaimedError(StoreError):
    """Two live agents send under one host name; the later started one is taken, the other refused."""


class FencedError(StoreError):
    """Who writes no longer holds the lease it writes under; another does, and nothing was written."""


class NotFoundError(StoreError, LookupError):
    """There is no such thing."""


class StateError(StoreError):
    """The thing exists but is not in a state that allows this."""


class BusyError(StoreError):
    """Too much of it is under way; the same call may succeed later."""


class CursorError(StoreError, ValueError):
    """A page cursor that this store did not give out."""
