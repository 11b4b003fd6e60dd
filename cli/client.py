"""The service as the command line sees it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from offbeat import __version__
from offbeat.cli.errors import CliError
from offbeat.cli.options import given, load
from offbeat.settings import ClientSettings, ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer

TIMEOUT_SECONDS = 10.0
"""How long the service may take to answer; without it a hung service hangs the terminal."""
FILE_SECONDS = 60.0
"""The same for files, which the service has to make first."""
PAGES = 20
"""Pages of a list that are read at most; without it a service of many years' incidents is read out whole."""


class Client:
    """Calls to the API; whatever goes wrong becomes one line."""

    def __init__(self, url: str, token: str) -> None:
        """Speak to the service at *url* (http, https or unix:///path) as *token*."""
        self.url = url.rstrip("/")
        self._has_token = bool(token)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https", "unix"}:
            raise CliError(f"{url!r} is no address of a service: it starts with http://, https:// or unix://", 64)
        local = parts.scheme == "unix"
        self._http = httpx2.Client(
            base_url="http://offbeat" if local else self.url,
            transport=httpx2.HTTPTransport(uds=parts.path) if local else None,
            trust_env=not is_here(url),  # a proxy of the surroundings does not lead to this machine
            timeout=TIMEOUT_SECONDS,
            headers={"User-Agent": f"offbeat-cli/{__version__}"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._http.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Return the JSON at *path* below /api/v1; parameters that are None are left out."""
        return self._call("GET", f"/api/v1{path}", params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST *body* to *path* below /api/v1 and return the answer's JSON."""
        return self._call("POST", f"/api/v1{path}", json=body)

    def delete(self, path: str) -> None:
        """DELETE *path* below /api/v1."""
        self._call("DELETE", f"/api/v1{path}")

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor = None
        for _ in range(PAGES):
            page = self.get(path, cursor=cursor, limit=500, **query)
            found += page["items"]
            cursor = page.get("next")
            if cursor is None:
                break
        return found

    def operation(self, path: str) -> dict[str, Any]:
        """Return the JSON at *path* outside the API, such as /readyz, whatever its status."""
        return self._call("GET", path, any_status=True)

    def file(self, path: str, **query: Any) -> tuple[bytes, Mapping[str, str]]:
        """Return the content and the headers of the file at *path* below /api/v1."""
        params = {k: v for k, v in query.items() if v is not None}
        answer = self._request("GET", f"/api/v1{path}", params=params, timeout=FILE_SECONDS)
        if not answer.is_success:
            self._json(answer)
        return answer.content, answer.headers

    def _call(self, method: str, path: str, *, any_status: bool = False, **arguments: Any) -> dict[str, Any]:
        return self._json(self._request(method, path, **arguments), any_status=any_status)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx2.TimeoutException:
            raise CliError(f"{self.url} did not answer within {TIMEOUT_SECONDS:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CliError(f"cannot reach {self.url}: {error}; is 'offbeat up' running?") from None

    def _json(self, answer: httpx2.Response, *, any_status: bool = False) -> dict[str, Any]:
        if answer.status_code == 204:
            return {}
        try:
            content = answer.json()
        except ValueError:
            raise CliError(f"{self.url} answered {answer.status_code}, and not as an Offbeat service does") from None
        if answer.is_success or any_status:
            return dict(content)
        detail = content.get("detail") or content.get("title") or f"status {answer.status_code}"
        if answer.status_code == 401 and not self._has_token:
            detail = "a token is needed: set OFFBEAT_TOKEN or give --token"
        raise CliError(detail)


def connect(context: typer.Context, url: str | None, token: str | None) -> Client:
    """Return a client for what was given on the command line, in the environment or in the settings file.

    Without a token, a service on this machine is spoken to with the token that `offbeat up` left in its data directory.
    """
    settings = load(ClientSettings, {"url": given(context, "url", url), "token": given(context, "token", token)})
    return Client(settings.url, settings.token.get_secret_value() or local_token(settings.url))


def local_token(url: str) -> str:
    """Return the token that `offbeat up` left in its data directory; empty where *url* is elsewhere or we may not."""
    if not is_here(url):
        return ""
    try:
        return load(ServiceSettings, {}).admin_token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def is_here(url: str) -> bool:
    """Say whether *url* is on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def segment(text: str) -> str:
    """Return *text* as one segment of a path."""
    return quote(text, safe="")
