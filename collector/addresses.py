"""The addresses of this host's network interfaces, as the kernel tells them (rtnetlink)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from offbeat.collector import netlink

_GET_ADDRESS = 22  # RTM_GETADDR
_BODY = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, interface
_ADDRESS, _LOCAL = 1, 2  # IFA_ADDRESS, IFA_LOCAL: on a point-to-point link the former is the other side's
_SCOPE_UNIVERSE = 0


@dataclass(frozen=True, slots=True)
class Address:
    """One global address and the interface that has it."""

    interface: str
    text: str


def host_addresses() -> list[Address]:
    """Return all IPv4 and IPv6 addresses of global scope in this network namespace, loopback left out.

    Raises:
        OSError: The kernel refused to say.
    """
    link = netlink.Netlink(netlink.ROUTE)
    try:
        found = [_parse(*message) for message in link.dump(_GET_ADDRESS, _BODY.pack(0, 0, 0, 0, 0))]
    finally:
        link.close()
    return [address for address in found if address is not None]


def _parse(buffer: bytes, start: int, end: int) -> Address | None:
    if end - start < _BODY.size:
        return None
    family, _, _, scope, index = _BODY.unpack_from(buffer, start)
    if scope != _SCOPE_UNIVERSE or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    size = 4 if family == socket.AF_INET else 16
    by_kind = {kind: buffer[a:b] for kind, a, b in netlink.attributes(buffer, start + _BODY.size, end) if b - a == size}
    raw = by_kind.get(_LOCAL, by_kind.get(_ADDRESS))
    if raw is None:
        return None
    try:
        name = socket.if_indextoname(index)
    except OSError:  # gone since
        return None
    text = socket.inet_ntop(family, raw)
    return None if name == "lo" else Address(name, text)
