"""Where a webhook may go: the service sits inside the cluster's network and must not be made to call into it.

A name is resolved once, every address it has is judged, and the connection goes to the judged address, so that a name
which answers differently a second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = {
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud, older images
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # Google Cloud over IPv6
    )
}
"""Metadata services outside the link-local ranges; they hand out credentials to whoever asks."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


class RefusedError(ValueError):
    """A webhook must not go there; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked destination: connect to `address`, speak to `host`."""

    scheme: str
    host: str
    port: int
    address: str
    path: str

    @property
    def connect_url(self) -> str:
        """The URL that names the address instead of the host."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{address}:{self.port}{self.path}"

    @property
    def host_header(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def resolve(
    url: str, *, allow_private: bool, lookup: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo
) -> Target:
    """Resolve *url* and judge where it leads.

    Args:
        url: The webhook's address.
        allow_private: Loopback and private addresses are fine; link-local and metadata addresses never are.
        lookup: `socket.getaddrinfo`, or what stands for it.

    Raises:
        RefusedError: Not http(s), with a password, unresolvable, or it leads where no webhook may go.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedError(f"not a URL: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise RefusedError("must be an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise RefusedError("must not carry a user name or password")
    port = port or _PORTS[parts.scheme]
    try:
        found = lookup(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedError(f"host {parts.hostname} cannot be resolved") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        _judge(address, allow_private=allow_private)
    if not addresses:
        raise RefusedError(f"host {parts.hostname} has no address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port, addresses[0], path)


def _judge(text: str, *, allow_private: bool) -> None:
    address = _inner(ipaddress.ip_address(text.partition("%")[0]))
    if address in _METADATA or address.is_link_local:
        raise RefusedError(f"{text} is a link-local or metadata address")
    if address.is_multicast or address.is_unspecified or (address.is_reserved and not address.is_loopback):
        raise RefusedError(f"{text} is not an address of one machine")
    if not address.is_global and not allow_private:
        raise RefusedError(f"{text} is a loopback or private address; OFFBEAT_WEBHOOK_ALLOW_PRIVATE=true allows them")


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
