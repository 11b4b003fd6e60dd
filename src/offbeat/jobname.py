"""The job's name, the same wherever something of it is told."""

from __future__ import annotations

import os
import re
from typing import Any

_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+")
_RENDEZVOUS = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
_NO_RUN = "none"
"""What torchrun calls a run that was given no id: no name to tell two jobs apart."""


def job_name(init_method: str | None = None, store: Any = None) -> str:
    """Return the job's name: what it was given, else where its ranks meet.

    Args:
        init_method: The address `init_process_group` was called with.
        store: The default store, asked for its address where nothing else tells.
    """
    given = os.environ.get("OFFBEAT_JOB")
    if not given:
        given = next((v for name in _RENDEZVOUS if (v := os.environ.get(name)) and v != _NO_RUN), None)
    return sanitise(given or f"torch-{_meeting_point(init_method, store)}")


def sanitise(name: str) -> str:
    """Fit a name to what a job may be called: 1 to 128 of A-Z, a-z, 0-9, dot, dash, underscore."""
    return _FORBIDDEN.sub("-", name)[:128] or "job"


def _meeting_point(init_method: str | None, store: Any) -> str:
    if init_method and not init_method.startswith("env:"):
        from urllib.parse import urlsplit  # noqa: PLC0415 - seldom needed

        url = urlsplit(init_method)
        return f"{url.hostname}-{url.port}" if url.hostname else url.path.strip("/")
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if address and port:
        return f"{address}-{port}"
    for _ in range(8):  # stores are wrapped in stores that add a prefix
        if hasattr(store, "host"):
            return f"{store.host}-{store.port}"
        store = getattr(store, "underlying_store", None)
    return "job"
