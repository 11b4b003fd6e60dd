"""The hosts of the demo: network namespaces where the machine allows them, else plain processes on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMAND_SECONDS = 10.0
"""How long an `ip` or `tc` may take; without it one that waits for a lock stops the demo for good."""


class BedError(Exception):
    """A host cannot be made or changed; the message says what was tried and what the machine answered."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host: where its processes run, and what its agent keeps."""

    name: str
    address: str
    interface: str
    ring_dir: Path
    spool_dir: Path
    namespace: str | None = None

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs *argv* on this host; nsenter becomes the program, its pid stays."""
        # Not `ip netns exec`, which hides the machine's control groups behind a new /sys: an agent could not see
        # that a process is frozen.
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *argv] if self.namespace else list(argv)


class Bed(Protocol):
    """Some hosts, until closed."""

    hosts: tuple[Host, ...]
    description: str

    def close(self) -> None:
        """Remove what was made."""


class PlainBed:
    """Hosts by name only: each has its own agent, rings and ranks, but all share the machine's network."""

    def __init__(self, n: int, root: Path, why: str) -> None:
        self.description = f"plain processes on loopback, as {why}"
        self.hosts = tuple(_host(f"node-{i}", "127.0.0.1", "lo", root) for i in range(n))

    def close(self) -> None:
        """Nothing was made outside the demo's directory."""


class NamespaceBed:
    """Hosts as network namespaces on a switch, a bridge in a namespace of its own.

    The machine's own namespace gets no address, route or link, so nothing of the job can leave and nothing can
    collide. Addresses are from 198.18.0.0/15, which RFC 2544 reserves for benchmarks.
    """

    def __init__(self, n: int, root: Path) -> None:
        self.description = f"{n} network namespaces on a switch of their own (198.18.0.0/24)"
        self._prefix = f"offbeat-{os.getpid()}"
        self._made: list[str] = []
        try:
            switch = self._namespace("switch")
            run(["ip", "-n", switch, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"])
            run(["ip", "-n", switch, "link", "set", "br0", "up"])
            self.hosts = tuple(self._plug(f"node-{i}", i, switch, root) for i in range(n))
        except BaseException:
            self.close()
            raise

    def _namespace(self, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        self._made.append(namespace)  # before it is there: an interrupt may come between the two
        run(["ip", "netns", "add", namespace])
        run(["ip", "-n", namespace, "link", "set", "lo", "up"])
        return namespace

    def _plug(self, name: str, port: int, switch: str, root: Path) -> Host:
        host = self._namespace(name)
        address = f"198.18.0.{10 + port}"
        run(["ip", "-n", switch, "link", "add", f"port{port}", "type", "veth", "peer", "name", "eth0", "netns", host])
        run(["ip", "-n", switch, "link", "set", f"port{port}", "master", "br0", "up"])
        run(["ip", "-n", host, "address", "add", f"{address}/24", "dev", "eth0"])
        run(["ip", "-n", host, "link", "set", "eth0", "up"])
        return _host(name, address, "eth0", root, namespace=host)

    def close(self) -> None:
        """Remove the namespaces, and with them their links and the switch's ports."""
        while self._made:
            with contextlib.suppress(BedError):  # not made after all
                run(["ip", "netns", "delete", self._made.pop()])


def lay_bed(n: int, root: Path, *, plain: bool = False) -> Bed:
    """Return *n* hosts, as real as this machine allows; what they keep goes under *root*."""
    if plain:
        return PlainBed(n, root, "asked for")
    if os.geteuid() != 0:
        return PlainBed(n, root, "only root may make network namespaces")
    if missing := [tool for tool in ("ip", "tc", "nsenter") if shutil.which(tool) is None]:
        return PlainBed(n, root, f"{' and '.join(missing)} (packages iproute2 and util-linux) are not installed")
    try:
        return NamespaceBed(n, root)
    except BedError as error:
        return PlainBed(n, root, f"this machine makes no network namespaces ({error})")


def run(argv: Sequence[str]) -> str:
    """Run *argv* and return what it printed.

    Raises:
        BedError: It is not there, failed, or took too long.
    """
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS)  # noqa: S603 - no shell; fixed words and our own names
    except subprocess.CalledProcessError as error:
        raise BedError(f"{' '.join(argv)}: {error.stderr.strip() or f'exit code {error.returncode}'}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{' '.join(argv)}: {error}") from None
    return done.stdout


def _host(name: str, address: str, interface: str, root: Path, namespace: str | None = None) -> Host:
    host = Host(name, address, interface, root / name / "rings", root / name / "spool", namespace)
    for directory in (host.ring_dir, host.spool_dir):
        directory.mkdir(parents=True, mode=0o700)
    return host
