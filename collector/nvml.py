"""NVIDIA's management library, asked politely: what a GPU or a driver does not know is not asked again."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offbeat.collector import pci

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MAX_GPUS = 64
_MAX_LINKS = 36


class NvmlError(Exception):
    """The library is not there, or does not start."""


@dataclass(slots=True)
class Device:
    """One GPU; `lost` once it has fallen off the bus."""

    index: int
    handle: Any
    address: str = ""
    uuid: str = ""
    lost: bool = False
    unknown: set[tuple[object, ...]] = field(default_factory=set)
    """Calls that this GPU does not support."""

    @property
    def id(self) -> str:
        """What tables call it: its index as text."""
        return str(self.index)


class Nvml:
    """The library, started."""

    def __init__(self) -> None:
        """Load and start it.

        Raises:
            NvmlError: There is none, or it does not start; its own words say why.
        """
        import pynvml  # noqa: PLC0415 - ten thousand lines that only machines with a GPU need

        self._lib = pynvml
        self._lost = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
        self._unsupported = {
            pynvml.NVML_ERROR_NOT_SUPPORTED,
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            pynvml.NVML_ERROR_NO_PERMISSION,
            pynvml.NVML_ERROR_INVALID_ARGUMENT,
        }
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlError(str(error)) from None

    def devices(self) -> list[Device]:
        """Return the GPUs of this machine.

        Raises:
            NvmlError: The library does not say.
        """
        try:
            count = min(self._lib.nvmlDeviceGetCount(), _MAX_GPUS)
            handles = [(index, self._lib.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
        except self._lib.NVMLError as error:
            raise NvmlError(str(error)) from None
        found = []
        for index, handle in handles:
            device = Device(index, handle)
            info = self.ask(device, "nvmlDeviceGetPciInfo_v3")
            uuid = self.ask(device, "nvmlDeviceGetUUID")
            device.address = "" if info is None else pci.address(_text(info.busId))
            device.uuid = "" if uuid is None else _text(uuid)
            found.append(device)
        return found

    def ask(self, device: Device, function: str, *arguments: Any) -> Any:
        """Return what *function* of the library says of *device*; None if it does not."""
        key = (function, *arguments)
        if key in device.unknown:
            return None
        try:
            return getattr(self._lib, function)(device.handle, *arguments)
        except self._lib.NVMLError as error:
            if error.value in self._unsupported:
                device.unknown.add(key)
            device.lost = device.lost or error.value in self._lost
        except AttributeError:  # a binding older than the function
            device.unknown.add(key)
        return None

    def number(self, device: Device, function: str, *arguments: Any) -> float | None:
        """Return a finite number that *function* says of *device*, None if it does not."""
        value = self.ask(device, function, *arguments)
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None

    def fields(self, device: Device, ids: Sequence[int | tuple[int, int]]) -> Iterator[tuple[int, float]]:
        """Yield (field id, value) for those of *ids* that *device* knows; an id may come with a scope, as a link."""
        for value in self.ask(device, "nvmlDeviceGetFieldValues", tuple(ids)) or ():
            if value.nvmlReturn == self._lib.NVML_SUCCESS:
                name = _MEMBERS.get(value.valueType)
                number = getattr(value.value, name) if name else math.nan
                if math.isfinite(number):
                    yield value.fieldId, float(number)

    def active_links(self, device: Device) -> tuple[list[int], int]:
        """Return the NVLinks of *device* that are up, and how many there are."""
        active, links = [], 0
        for link in range(_MAX_LINKS):
            state = self.ask(device, "nvmlDeviceGetNvLinkState", link)
            if state is None:
                if device.lost:
                    break
                continue
            links += 1
            if state:
                active.append(link)
        return active, links

    def processes(self, device: Device) -> list[int]:
        """Return the ids of the processes that compute on *device*, as the driver's PID namespace calls them."""
        return [process.pid for process in self.ask(device, "nvmlDeviceGetComputeRunningProcesses_v3") or ()]

    def watch(self, devices: Sequence[Device]) -> Callable[[int], tuple[str, int] | None] | None:
        """Return a function that waits some ms for an XID and returns (device id, number); None where none are told."""
        lib = self._lib
        try:
            events = lib.nvmlEventSetCreate()
        except lib.NVMLError:
            return None
        watched = {}
        for device in devices:
            try:
                lib.nvmlDeviceRegisterEvents(device.handle, lib.nvmlEventTypeXidCriticalError, events)
            except lib.NVMLError:
                continue
            watched[_pointer(device.handle)] = device.id
        if not watched:
            return None

        def wait(milliseconds: int) -> tuple[str, int] | None:
            try:
                event = lib.nvmlEventSetWait_v2(events, milliseconds)
            except lib.NVMLError as error:
                if error.value == lib.NVML_ERROR_TIMEOUT:
                    return None
                raise NvmlError(str(error)) from None
            if event.eventType != lib.nvmlEventTypeXidCriticalError:
                return None
            return watched.get(_pointer(event.device), ""), int(event.eventData)

        return wait


_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
"""Member of a field's value for each `nvmlValueType_t`."""


def _pointer(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _text(value: str | bytes) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return text[:80]
