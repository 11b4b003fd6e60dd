"""The sources that watch devices and other programs, as the settings want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.collector.sources.dcgm import DcgmSource
from offbeat.collector.sources.ethernet import EthernetSource
from offbeat.collector.sources.flight_recorder import FlightRecorderSource
from offbeat.collector.sources.gpu import GpuSource
from offbeat.collector.sources.infiniband import InfinibandSource
from offbeat.collector.sources.injected import InjectedSource
from offbeat.collector.sources.kernel_log import KernelLogSource
from offbeat.collector.sources.kubernetes import KubernetesSource
from offbeat.collector.sources.nccl_inspector import NcclInspectorSource
from offbeat.collector.sources.nccl_log import NcclLogSource
from offbeat.collector.sources.nccl_ras import NcclRasSource
from offbeat.collector.sources.slurm import SlurmSource

if TYPE_CHECKING:
    from offbeat.collector.interfaces import Interfaces
    from offbeat.collector.source import Ranks, Source
    from offbeat.settings import AgentSettings


def device_sources(settings: AgentSettings, ranks: Ranks, watched: Interfaces) -> list[Source]:
    """Make the sources that *settings* turn on.

    Args:
        settings: Of this agent.
        ranks: Those alive on this host.
        watched: The interfaces that their connections use.

    Raises:
        ValueError: A setting cannot be used; the message says which and why.
    """
    host = settings.host
    gpu = GpuSource(host, ranks)
    log = KernelLogSource(host, ranks, gpus=gpu.addresses)
    gpu.tell_xids = not (settings.kernel_log and log.is_supported())
    flights, workers = settings.flight_recorder, settings.flight_recorder_workers
    every: list[tuple[bool, Source]] = [
        (settings.kernel_log, log),
        (settings.gpu, gpu),
        (settings.infiniband, InfinibandSource(host)),
        (bool(settings.dcgm), DcgmSource(host, settings.dcgm)),
        (bool(settings.nccl_ras), NcclRasSource(host, ranks, settings.nccl_ras)),
        (bool(settings.nccl_log), NcclLogSource(host, ranks, settings.nccl_log)),
        (bool(settings.nccl_inspector), NcclInspectorSource(host, ranks, settings.nccl_inspector)),
        (bool(flights or workers), FlightRecorderSource(host, ranks, flights, workers)),
        (settings.slurm, SlurmSource(host, ranks)),
        (settings.kubernetes, KubernetesSource(host, ranks)),
        (settings.ethernet, EthernetSource(host, watched.names)),
        (settings.inject, InjectedSource(host, settings.spool_dir / "inject", gpus=gpu.addresses)),
    ]
    return [source for wanted, source in every if wanted]
