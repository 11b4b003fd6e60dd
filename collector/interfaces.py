"""Which network interfaces matter to the job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from offbeat.collector import procfs
from offbeat.collector.addresses import Address, host_addresses

if TYPE_CHECKING:
    from collections.abc import Callable


class Interfaces:
    """The interfaces that carry the default route or an address that the job's connections use; never `lo`.

    Once found, an interface stays: a link that goes down loses its routes, and that is when it matters.
    """

    def __init__(
        self,
        used: Callable[[], set[str]],
        *,
        proc: Path = Path("/proc"),
        addresses: Callable[[], list[Address]] = host_addresses,
    ) -> None:
        """Take the local addresses of the job's connections from *used*."""
        self._used = used
        self._proc = proc
        self._addresses = addresses
        self._names: set[str] = set()

    def refresh(self) -> None:
        """Look for interfaces that have come to matter.

        Raises:
            OSError: The kernel does not tell its addresses.
        """
        self._names |= self._default_routes()
        used = self._used()
        if used:
            self._names |= {address.interface for address in self._addresses() if address.text in used}
        self._names.discard("lo")

    def names(self) -> list[str]:
        """Return the interfaces found so far, in order."""
        return sorted(self._names)

    def _default_routes(self) -> set[str]:
        found = set()
        for line in self._lines("route"):  # Iface Destination Gateway Flags RefCnt Use Metric Mask
            fields = line.split()
            if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
                found.add(fields[0])
        for line in self._lines("ipv6_route"):  # destination, its prefix length, …, interface
            fields = line.split()
            if len(fields) == 10 and fields[0] == "0" * 32 and fields[1] == "00":
                found.add(fields[9])
        return found

    def _lines(self, name: str) -> list[str]:
        try:
            return procfs.read(self._proc / "net" / name).decode("ascii", "replace").splitlines()
        except OSError:
            return []
