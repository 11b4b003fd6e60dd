"""What people look at: the built-in dashboard's plain files, and the headers they must be served with."""

from __future__ import annotations

from pathlib import Path

from offbeat import faults

WEB = Path(__file__).parent / "web"
"""Files to serve at `/` (`index.html` is the page); all addresses inside are relative, none leaves the service."""

SHARED = {"faults.json": faults.FILE}
"""Files served beside those of `WEB` that other rooms read too: one table, not a copy of it."""

GRAFANA = Path(__file__).parent / "grafana"
"""Dashboards for Grafana as JSON models, written by packaging/generate_grafana.py."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
    "frame-ancestors 'none'"
)
"""Names of jobs, ranks and hosts come from machines nobody vouches for; without it one slip makes them run as code."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Response headers for every file of `WEB`; `no-cache` because file names carry no version."""
