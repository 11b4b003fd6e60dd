"""What a network driver counts, and the speed of its link, by ioctl (linux/ethtool.h).

Asked through a socket, hence of the network namespace of the agent, which `/sys` need not show.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct

import numpy as np

MAX_STATISTICS = 16384
"""Most counters of one interface; the kernel writes as many as it has, so there is room for twice that."""
_SIOCETHTOOL = 0x8946
_GSET, _GSTRINGS, _GSTATS, _GSSET_INFO = 0x01, 0x1B, 0x1D, 0x37
_STATISTICS = 1  # ETH_SS_STATS
_NAME_BYTES, _INTERFACE_BYTES = 32, 15
_UNKNOWN_SPEEDS = {0, 0xFFFF, 0xFFFFFFFF}


class Ethtool:
    """Asks about interfaces by name."""

    def __init__(self) -> None:
        """Open the socket.

        Raises:
            OSError: There are no sockets here.
        """
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._buffer = ctypes.create_string_buffer(8 + 2 * MAX_STATISTICS * _NAME_BYTES)

    def names(self, interface: str) -> list[str]:
        """Return what its driver counts, in the order of `values`; empty where it counts nothing.

        Raises:
            OSError: There is no such interface, or it cannot be asked.
        """
        count = self._count(interface)
        if not count:
            return []
        answer = self._ask(interface, struct.pack("=III", _GSTRINGS, _STATISTICS, count), 12 + count * _NAME_BYTES)
        texts = (answer[12 + i * _NAME_BYTES : 12 + (i + 1) * _NAME_BYTES] for i in range(count))
        return [text.split(b"\0", 1)[0].decode("ascii", "replace").strip() for text in texts]

    def values(self, interface: str, count: int) -> list[int]:
        """Return its counters, which must still be *count*.

        Raises:
            OSError: There is no such interface, it cannot be asked, or its driver now counts something else.
        """
        if self._count(interface) != count:
            raise OSError(errno.ESTALE, f"{interface}: its driver counts something else now")
        answer = self._ask(interface, struct.pack("=II", _GSTATS, count), 8 + count * 8)
        found: list[int] = np.frombuffer(answer, np.uint64, count, 8).tolist()
        return found

    def speed(self, interface: str) -> float | None:
        """Return the speed of the link in bits a second, None if it has none.

        Raises:
            OSError: There is no such interface, or it cannot be asked.
        """
        answer = self._ask(interface, struct.pack("=I", _GSET), 44)  # struct ethtool_cmd
        low, high = struct.unpack_from("=H", answer, 12)[0], struct.unpack_from("=H", answer, 28)[0]
        megabits = high << 16 | low
        return None if megabits in _UNKNOWN_SPEEDS else megabits * 1e6

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _count(self, interface: str) -> int:
        try:
            answer = self._ask(interface, struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _STATISTICS), 20)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return 0
            raise
        mask, count = struct.unpack_from("=QI", answer, 8)
        return count if mask and count <= MAX_STATISTICS else 0

    def _ask(self, interface: str, request: bytes, size: int) -> bytes:
        ctypes.memset(self._buffer, 0, size)
        ctypes.memmove(self._buffer, request, len(request))
        name = interface.encode()[:_INTERFACE_BYTES]
        fcntl.ioctl(self._socket, _SIOCETHTOOL, struct.pack("16sP16x", name, ctypes.addressof(self._buffer)))
        return ctypes.string_at(self._buffer, size)
