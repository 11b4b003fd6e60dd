"""Slow facts of a host: memory, heat, throttled processors, disks, room on file systems."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from offbeat.collector import procfs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_DISKS = 128
MAX_PROCESSORS = 1024
_SECTOR = 512
_VIRTUAL = re.compile(r"(?:loop|ram|zram|dm-|md|nbd|sr|fd)\d*")
_PART = re.compile(r"p?\d+")
_ABSOLUTE_ZERO, _TOO_HOT = -273.0, 200.0
_MEMINFO = {"MemTotal": "memory_total_bytes", "MemAvailable": "memory_available_bytes", "SwapFree": "swap_free_bytes"}


def memory(proc: Path) -> dict[str, float]:
    """Return what `/proc/meminfo` and `/proc/vmstat` say of memory, bytes, and of processes killed for it."""
    values: dict[str, float] = {}
    for line in _lines(proc / "meminfo"):
        name, _, rest = line.partition(":")
        number = rest.split()[0] if name in _MEMINFO and rest.split() else ""
        if _is_number(number):
            values[_MEMINFO[name]] = float(number) * 1024
    for line in _lines(proc / "vmstat"):
        name, _, number = line.partition(" ")
        if name == "oom_kill" and _is_number(number):
            values["oom_kills_total"] = float(number)
    return values


def heat(sys: Path) -> dict[str, float]:
    """Return the temperature of the hottest thermal zone, and how often processors were throttled for heat."""
    values: dict[str, float] = {}
    zones = [_number(zone / "temp") for zone in _entries(sys / "class" / "thermal", "thermal_zone")]
    degrees = [zone / 1000 for zone in zones if zone is not None and _ABSOLUTE_ZERO < zone / 1000 < _TOO_HOT]
    if degrees:
        values["temperature_celsius"] = max(degrees)
    cores = _entries(sys / "devices" / "system" / "cpu", "cpu")[:MAX_PROCESSORS]
    counts = [_number(core / "thermal_throttle" / "package_throttle_count") for core in cores]
    known = [count for count in counts if count is not None]
    if known:
        values["cpu_throttles_total"] = max(known)  # every core of a package tells the same
    return values


def disks(proc: Path) -> dict[str, dict[str, float]]:
    """Return what whole disks have moved (bytes), how long they were busy (s), and what is under way, by name."""
    found: dict[str, dict[str, float]] = {}
    for line in _lines(proc / "diskstats"):
        fields = line.split()
        if len(fields) < 14 or not all(map(_is_number, fields[3:14])):
            continue
        name = fields[2]
        # Partitions follow their disk.
        whole = not any(name.startswith(disk) and _PART.fullmatch(name, len(disk)) for disk in found)
        if _VIRTUAL.match(name) or not whole or len(found) >= MAX_DISKS or not any(map(int, fields[3:14])):
            continue
        found[name] = {
            "disk_read_bytes": float(fields[5]) * _SECTOR,
            "disk_written_bytes": float(fields[9]) * _SECTOR,
            "disk_in_flight": float(fields[11]),
            "disk_busy_seconds": float(fields[12]) / 1000,
        }
    return found


def room(paths: Iterable[Path]) -> dict[str, dict[str, float]]:
    """Return how many bytes are free and in all on the file systems at *paths*, which must be local: others hang."""
    found: dict[str, dict[str, float]] = {}
    for path in paths:
        try:
            about = os.statvfs(path)
        except OSError:
            continue
        if about.f_blocks:
            free, total = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
            found[str(path)] = {"filesystem_free_bytes": float(free), "filesystem_total_bytes": float(total)}
    return found


def _entries(folder: Path, prefix: str) -> list[Path]:
    """Return the entries of a folder that are called *prefix* and a number."""
    try:
        return [folder / name for name in procfs.names(folder) if re.fullmatch(prefix + r"\d{1,6}", name)]
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    try:
        return procfs.read(path).decode("ascii", "replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> float | None:
    text = "".join(_lines(path)[:1]).strip()
    return float(text) if _is_number(text.removeprefix("-")) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
