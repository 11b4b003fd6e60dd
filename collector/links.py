"""Whether a network interface has a carrier, as the kernel tells it this moment (rtnetlink).

Not from `/sys/class/net`, which shows the network namespace it was mounted in, not ours; and not by ioctl, whose flag
follows a lost carrier up to a second later.
"""

from __future__ import annotations

import errno
import struct

from offbeat.collector import netlink

_GET_LINK = 18  # RTM_GETLINK
_BODY = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_NAME = 3  # IFLA_IFNAME
_UP, _LOWER_UP = 0x1, 0x10000


class Links:
    """Asks for one interface at a time, over one socket."""

    def __init__(self) -> None:
        self._link: netlink.Netlink | None = None

    def carrier(self, name: str) -> bool | None:
        """Say whether an interface is up and its link too; None when there is no such interface.

        Raises:
            OSError: The kernel did not say.
        """
        if self._link is None:
            self._link = netlink.Netlink(netlink.ROUTE)
        value = name.encode() + b"\0"
        attribute = struct.pack("=HH", 4 + len(value), _NAME) + value + b"\0" * (-len(value) % 4)
        try:
            buffer, start, end = self._link.get(_GET_LINK, _BODY.pack(0, 0, 0, 0, 0) + attribute)
        except netlink.NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        if end - start < _BODY.size:
            return None
        flags = _BODY.unpack_from(buffer, start)[3]
        return bool(flags & _UP and flags & _LOWER_UP)
