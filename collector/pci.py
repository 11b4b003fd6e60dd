"""One spelling for PCI addresses, which kernel, NVML, DCGM and NCCL all write in their own way."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"(?:PCI:)?(?:([0-9a-f]{4,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})(?:\.([0-7]))?", re.IGNORECASE | re.ASCII
)


def address(text: str) -> str:
    """Return *text* as `0000:1b:00.0`, the kernel's spelling; unchanged if it is no PCI address."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        return text
    domain, bus, device, function = found.groups("0")
    return f"{int(domain, 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}.{int(function)}"
