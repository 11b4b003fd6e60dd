"""One reading of one GPU: the gauges that tell a slow or a failing one from its peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offbeat.collector.nvml import Device, Nvml

_GPU = 0
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_CORRECTED, _UNCORRECTED, _SINCE_DRIVER = 0, 1, 0
_SIMPLE = (
    ("gpu_temperature_celsius", "nvmlDeviceGetTemperature", (_GPU,), 1.0),
    ("gpu_sm_clock_hz", "nvmlDeviceGetClockInfo", (_CLOCK_SM,), 1e6),
    ("gpu_sm_clock_max_hz", "nvmlDeviceGetMaxClockInfo", (_CLOCK_SM,), 1e6),
    ("gpu_memory_clock_hz", "nvmlDeviceGetClockInfo", (_CLOCK_MEMORY,), 1e6),
    ("gpu_power_watts", "nvmlDeviceGetPowerUsage", (), 1e-3),
    ("gpu_power_limit_watts", "nvmlDeviceGetEnforcedPowerLimit", (), 1e-3),
    ("gpu_pcie_width", "nvmlDeviceGetCurrPcieLinkWidth", (), 1.0),
    ("gpu_pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth", (), 1.0),
    ("gpu_pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration", (), 1.0),
    ("gpu_pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration", (), 1.0),
    ("gpu_pcie_replays_total", "nvmlDeviceGetPcieReplayCounter", (), 1.0),
)
_ECC = (
    ("gpu_ecc_uncorrectable_total", "nvmlDeviceGetTotalEccErrors", (_UNCORRECTED, _SINCE_DRIVER), 1.0),
    ("gpu_ecc_correctable_total", "nvmlDeviceGetTotalEccErrors", (_CORRECTED, _SINCE_DRIVER), 1.0),
)
_REMAPPED = (
    "gpu_remapped_rows_correctable_total",
    "gpu_remapped_rows_uncorrectable_total",
    "gpu_remapped_rows_pending",
    "gpu_remapped_rows_failure",
)
# nvmlClocksEventReasons
_SW_POWER_CAP, _HW_SLOWDOWN, _SW_THERMAL, _HW_THERMAL, _POWER_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
_REASONS = {
    "gpu_throttle_thermal": _SW_THERMAL | _HW_THERMAL,
    "gpu_throttle_power": _SW_POWER_CAP | _POWER_BRAKE,
    "gpu_throttle_power_brake": _POWER_BRAKE,
    "gpu_throttle_hardware": _HW_SLOWDOWN,
}
_MEMORY_TEMPERATURE = 82  # NVML_FI_DEV_MEMORY_TEMP
_OLD_LINK_ERRORS = (38, 45, 52, 59)
"""Totals over all links of flit CRC, data CRC, replay and recovery errors (NVLink 1 to 4)."""
_LINK_ERRORS = (208, 211, 214)
"""Receive errors, local link integrity errors, failed recoveries, for each link (NVLink 5)."""


def quick(nvml: Nvml, device: Device) -> dict[str, float]:
    """Return what changes by the second: clocks, power, heat, load, and the bus."""
    values: dict[str, float] = {}
    for metric, function, arguments, unit in _SIMPLE:
        _put(values, metric, nvml.number(device, function, *arguments), unit)
    reasons = nvml.ask(device, "nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = nvml.ask(device, "nvmlDeviceGetCurrentClocksThrottleReasons")
    if isinstance(reasons, int):
        values |= throttling(reasons)
    utilization = nvml.ask(device, "nvmlDeviceGetUtilizationRates")
    if utilization is not None:
        values["gpu_utilization_ratio"] = utilization.gpu / 100
    memory = nvml.ask(device, "nvmlDeviceGetMemoryInfo")
    if memory is not None:
        values["gpu_memory_used_bytes"], values["gpu_memory_total_bytes"] = float(memory.used), float(memory.total)
    for _, celsius in nvml.fields(device, (_MEMORY_TEMPERATURE,)):
        values["gpu_memory_temperature_celsius"] = celsius
    return values


def throttling(reasons: int) -> dict[str, float]:
    """Return why clocks are held down, from the driver's bit mask of reasons."""
    return {metric: float(bool(reasons & mask)) for metric, mask in _REASONS.items()}


def slow(nvml: Nvml, device: Device) -> dict[str, float]:
    """Return what changes by the fault: memory errors, remapped rows, NVLinks."""
    values: dict[str, float] = {}
    for metric, function, arguments, unit in _ECC:
        _put(values, metric, nvml.number(device, function, *arguments), unit)
    rows = nvml.ask(device, "nvmlDeviceGetRemappedRows")
    if rows is not None:
        values |= {metric: float(value) for metric, value in zip(_REMAPPED, rows, strict=False)}
    active, links = nvml.active_links(device)
    if links:
        values["gpu_nvlinks_active"], values["gpu_nvlinks"] = float(len(active)), float(links)
        wanted: list[int | tuple[int, int]] = [
            *_OLD_LINK_ERRORS,
            *((number, link) for link in active for number in _LINK_ERRORS),
        ]
        errors = [value for _, value in nvml.fields(device, wanted)]
        if errors:
            values["gpu_nvlink_errors_total"] = sum(errors)
    return values


def _put(values: dict[str, float], metric: str, number: float | None, unit: float) -> None:
    if number is not None:
        values[metric] = number * unit
