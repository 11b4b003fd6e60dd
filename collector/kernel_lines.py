"""What a line of the kernel's log says about the health of the machine, if anything.

Wordings: NVIDIA's driver (`NVRM`, `SXid`), mlx5_core and other network drivers, nvme, block layer, mce, EDAC, AER,
mm/oom_kill.c, kernel/hung_task.c, kernel/watchdog.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offbeat.collector import pci, xids

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CHARACTERS = 1000
"""Longest part of a line that is looked at; the kernel's own limit is about as long."""
_MAX_CODE = 1 << 62


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened, in the words of the table `events`."""

    kind: str
    message: str
    device_kind: str | None = None
    device_id: str | None = None
    code: int | None = None


def read(text: str) -> Fact | None:
    """Return what *text*, a line without its prefix, says; None if nothing that matters here."""
    text = text[:MAX_CHARACTERS].strip()
    if not _HINT.search(text):
        return None
    for pattern, make in _PATTERNS:
        found = pattern.search(text)
        if found:
            return make(text, found)
    return None


def _xid(text: str, found: re.Match[str]) -> Fact:
    code = _number(found["code"])
    meaning = "" if code is None else xids.describe(code)
    return Fact("xid", f"{text} [{meaning}]" if meaning else text, "gpu", pci.address(found["pci"]), code)


def _fallen(text: str, found: re.Match[str]) -> Fact:
    return Fact("xid", text, "gpu", pci.address(found["pci"]), 79)


def _sxid(text: str, found: re.Match[str]) -> Fact:
    return Fact("sxid", text, "nvswitch", pci.address(found["pci"]), _number(found["code"]))


def _link(text: str, found: re.Match[str]) -> Fact:
    down = found["state"].lower() == "down"
    return Fact("nic_link_down" if down else "nic_link_up", text, "nic", found["device"])


def _of(kind: str, device_kind: str | None = None) -> Callable[[str, re.Match[str]], Fact]:
    """Return a maker of facts of one kind, whose pattern may name `device` and `code`."""

    def make(text: str, found: re.Match[str]) -> Fact:
        groups = found.groupdict()
        device = groups.get("device")
        return Fact(kind, text, device_kind, device and pci.address(device), _number(groups.get("code")))

    return make


def _process(kind: str) -> Callable[[str, re.Match[str]], Fact]:
    """Return a maker of facts about a process, whose number is in `pid`."""

    def make(text: str, found: re.Match[str]) -> Fact:
        return Fact(kind, text, "process", found["pid"], _number(found["pid"]))

    return make


def _edac(text: str, found: re.Match[str]) -> Fact:
    kind = "edac" if found["what"] == "UE" else "edac_corrected"
    return Fact(kind, text, "memory", found["device"], _number(found["count"]))


def _aer(text: str, found: re.Match[str]) -> Fact:
    kind = "pcie_corrected" if "orrect" in found["severity"] and "ncorrect" not in found["severity"] else "pcie_error"
    return Fact(kind, text, "pci", pci.address(found["device"]))


def _number(text: str | None) -> int | None:
    if text is None or len(text) > 19:
        return None
    number = int(text)
    return number if number < _MAX_CODE else None


_PCI = r"(?:PCI:)?(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?"
_HINT = re.compile(
    r"Xid|NVRM|mlx5|NETDEV|[Ll]ink |nvme|I/O error|medium error|FS|mce:|MCE|EDAC|Hardware Error|Memory failure"
    r"|ill(?:ed)? process|blocked for more|lockup|LOCKUP|stall|segfault|AER|PCIe Bus|throttled|link_down"
)
"""Words without which no pattern can match: nearly all lines have none, and cost one search."""

_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Fact]], ...] = tuple(
    (re.compile(pattern, re.ASCII), make)
    for pattern, make in (
        (rf"SXid \((?P<pci>{_PCI})\): (?P<code>\d+),", _sxid),
        (rf"NVRM: Xid \((?P<pci>{_PCI})(?: GPU-I:\d+)?\)[^:]*: (?P<code>\d+)\b", _xid),
        (rf"NVRM: .*?GPU (?:at )?(?P<pci>{_PCI}): GPU has fallen off the bus", _fallen),
        (
            r"[Oo]ut of memory.{0,40}: Kill(?:ed)? process (?P<pid>\d+)",
            _process("oom_kill"),
        ),
        (r"task \S{1,64}:(?P<pid>\d+) blocked for more than \d+ seconds", _process("hung_task")),
        (r"(?:soft lockup|hard LOCKUP).{0,20}[Cc][Pp][Uu]#? ?(?P<device>\d+)", _of("cpu_lockup", "cpu")),
        (r"rcu: INFO: \w+ (?:self-)?detected stall", _of("cpu_lockup", "cpu")),
        (r"\[(?P<pid>\d+)\]: segfault at ", _process("segfault")),
        (r"mce: .*CPU(?P<device>\d+).*(?:temperature above threshold|clock throttled)", _of("cpu_throttled", "cpu")),
        (r"EDAC (?P<device>\S+): (?P<count>\d+) (?P<what>CE|UE)\b", _edac),
        (r"Memory failure: 0x[0-9a-f]+: ", _of("memory_failure", "memory")),
        (r"\[Hardware Error\]: event severity: corrected", _of("mce_corrected", "host")),
        (r"\[Hardware Error\]: event severity: (?:recoverable|fatal)", _of("mce", "host")),
        (r"mce: \[Hardware Error\]: CPU (?P<device>\d+): Machine Check", _of("mce", "cpu")),
        (r"mce: .*Uncorrected hardware memory error", _of("mce", "memory")),
        (rf"(?P<device>{_PCI}): (?:AER: )?PCIe Bus Error: severity=(?P<severity>\w+(?: \S+)?)", _aer),
        (rf"AER: (?P<severity>\w+)(?: \S+)? error(?: message)? received(?: from|:) (?P<device>{_PCI})", _aer),
        (
            (
                rf"mlx5_core (?P<device>{_PCI}).*(?:reached miss count|unrecoverable hardware error|health compromised"
                r"|leak of a command resource|ACCESS_REG.*failed|[Hh]igh [Tt]emperature|insufficient power"
                r"|able unplugged|device is in error|fatal error)"
            ),
            _of("nic_error", "nic"),
        ),
        (r"NETDEV WATCHDOG: (?:CPU: \d+: )?(?P<device>[\w.@-]+)", _of("nic_error", "nic")),
        (r"(?P<device>[\w.@-]+): (?:\w+: [\w.@-]+ )?(?:NIC )?Link (?:is )?(?P<state>[Dd]own|[Uu]p)\b", _link),
        (
            (
                r"nvme (?P<device>nvme\d+): (?:I/O .*timeout|controller is down|Device not ready|Removing after probe"
                r"|Abort status|.*reset controller|Disabling device)"
            ),
            _of("nvme_error", "disk"),
        ),
        (r"(?:I/O|critical medium|critical target) error, dev (?P<device>nvme\w+)", _of("nvme_error", "disk")),
        (r"(?:I/O|critical medium|critical target) error, dev (?P<device>\w+)", _of("disk_error", "disk")),
        (
            (
                r"(?:EXT4-fs error|XFS|BTRFS).{0,20}\((?:device )?(?P<device>[\w-]+)\).*"
                r"(?:error|Corruption|shutting down|read-only|I/O)"
            ),
            _of("disk_error", "disk"),
        ),
    )
)
