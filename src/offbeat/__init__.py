"""Offbeat finds the rank, GPU, NIC or link that falls off the beat of a distributed training job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offbeat.collector.recorders.torch import phase, record
    from offbeat.recovery.memory.snapshotter import Snapshotter

__version__ = "0.1.0"
__all__ = ["Snapshotter", "__version__", "phase", "record"]


def __getattr__(name: str) -> Any:
    # Imported on first use: a trainer that only imports offbeat pays nothing for the rest.
    if name in {"record", "phase"}:
        from offbeat.collector.recorders import torch as recorder  # noqa: PLC0415 - see above

        return getattr(recorder, name)
    if name == "Snapshotter":
        from offbeat.recovery.memory.snapshotter import Snapshotter  # noqa: PLC0415 - see above

        return Snapshotter
    raise AttributeError(f"module 'offbeat' has no attribute {name!r}")
