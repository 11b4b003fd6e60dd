"""TCP connections of this network namespace with the kernel's own figures of each (struct tcp_info).

Layouts: linux/inet_diag.h, linux/tcp.h. A kernel's tcp_info may be shorter or longer than ours: what it lacks reads 0.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from offbeat.collector import netlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INFO = np.dtype(
    {
        "names": [
            "backoff",
            "rto_us",
            "unacked",
            "last_data_recv_ms",
            "rtt_us",
            "rttvar_us",
            "snd_cwnd",
            "total_retrans",
            "bytes_acked",
            "bytes_received",
            "notsent",
            "min_rtt_us",
            "delivery_rate_bps",
            "busy_us",
            "rwnd_limited_us",
            "sndbuf_limited_us",
        ],
        "formats": ["u1", *["u4"] * 7, *["u8"] * 2, *["u4"] * 2, *["u8"] * 4],
        "offsets": [4, 8, 24, 52, 68, 72, 80, 100, 120, 128, 144, 148, 160, 168, 176, 184],
        "itemsize": 192,
    }
)
"""The fields of struct tcp_info that are sent, under the names of their metrics."""

# The older of the two requests: it alone lists both families at once, and a dump walks through the kernel's whole hash
# table, however few connections there are.
_GET_TCP = 18  # TCPDIAG_GETSOCK
_REQUEST = struct.Struct("=4B48xII")  # inet_diag_req: family, prefix lengths, extensions, id, states, marker
_WANT_INFO = 1 << 1  # INET_DIAG_INFO is extension 2
_INFO_ATTRIBUTE = 2
_STATES = 0xFFE & ~(1 << 6) & ~(1 << 10)  # all but TIME_WAIT, which nobody owns, and LISTEN
# inet_diag_msg: family, state, timer, retransmits; ports, addresses, interface, cookie; expires, queues, uid, inode
_MESSAGE = struct.Struct("!4B HH 16s16s")
_TAIL = struct.Struct("=5I")
_TAIL_AT = 52
_MESSAGE_SIZE = 72


@dataclass(frozen=True, slots=True)
class Connection:
    """One TCP connection; `info` is a struct tcp_info cut or filled up to `INFO`'s size."""

    inode: int
    local: tuple[str, int]
    remote: tuple[str, int]
    info: bytes


def parse(buffer: bytes, start: int, end: int, wanted: Callable[[int, int], bool]) -> Connection | None:
    """Read one inet_diag message.

    Args:
        buffer: What the kernel sent.
        start: Where the message's payload begins.
        end: Where it ends.
        wanted: Called with (inode, user id); only then is the rest looked at.

    Returns:
        The connection; None if it is not wanted, has no figures, or the message is cut off.
    """
    if end - start < _MESSAGE_SIZE:
        return None
    *_, user, inode = _TAIL.unpack_from(buffer, start + _TAIL_AT)
    if not inode or not wanted(inode, user):
        return None
    family, _, _, _, local_port, remote_port, local, remote = _MESSAGE.unpack_from(buffer, start)
    for kind, a, b in netlink.attributes(buffer, start + _MESSAGE_SIZE, end):
        if kind == _INFO_ATTRIBUTE:
            info = buffer[a : min(b, a + INFO.itemsize)].ljust(INFO.itemsize, b"\0")
            return Connection(
                inode, (_address(family, local), local_port), (_address(family, remote), remote_port), info
            )
    return None


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if raw[:12] == b"\0" * 10 + b"\xff\xff":  # a connection over IPv4 made by an IPv6 socket
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


class SockDiag:
    """Lists connections."""

    def __init__(self) -> None:
        """Open the netlink socket.

        Raises:
            OSError: The kernel has no socket diagnostics, or does not let us.
        """
        self._link = netlink.Netlink(netlink.SOCK_DIAG)

    def connections(self, wanted: Callable[[int, int], bool]) -> Iterator[Connection]:
        """Yield the IPv4 and IPv6 connections for which *wanted* (inode, user id) holds; none that listen or linger.

        Raises:
            OSError: The kernel refused or did not answer.
        """
        body = _REQUEST.pack(socket.AF_UNSPEC, 0, 0, _WANT_INFO, _STATES, 0)
        for buffer, start, end in self._link.dump(_GET_TCP, body):
            connection = parse(buffer, start, end, wanted)
            if connection is not None:
                yield connection

    def close(self) -> None:
        """Close the netlink socket."""
        self._link.close()
