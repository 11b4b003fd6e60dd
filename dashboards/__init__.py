"""What people look at: the built-in dashboard's plain files, and the headers they must be served with."""

from __future__ import annotations

from pathlib import Path

WEB = Path(__file__).parent / "web"
"""Files to serve at `/` (`index.html` is the page); all addresses inside are relative, none leaves the service."""

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
