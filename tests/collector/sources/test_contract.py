"""One contract for all sources: names, shapes, and an orderly answer where there is nothing to read."""

import importlib
import pkgutil
from pathlib import Path

import pytest

from offbeat import records
from offbeat.collector import sources
from offbeat.collector.addresses import Address
from offbeat.collector.interfaces import Interfaces
from offbeat.collector.nvml import NvmlError
from offbeat.collector.sockdiag import SockDiag
from offbeat.collector.sockets import SocketOwners
from offbeat.collector.source import NoData
from offbeat.collector.sources.carrier import CarrierSource
from offbeat.collector.sources.dcgm import DcgmSource
from offbeat.collector.sources.ethernet import EthernetSource
from offbeat.collector.sources.flight_recorder import FlightRecorderSource
from offbeat.collector.sources.gpu import GpuSource
from offbeat.collector.sources.heartbeat import HeartbeatSource
from offbeat.collector.sources.host import HostSource
from offbeat.collector.sources.infiniband import InfinibandSource
from offbeat.collector.sources.injected import InjectedSource
from offbeat.collector.sources.kernel_log import KernelLogSource
from offbeat.collector.sources.kubernetes import KubernetesSource
from offbeat.collector.sources.nccl_inspector import NcclInspectorSource
from offbeat.collector.sources.nccl_log import NcclLogSource
from offbeat.collector.sources.nccl_ras import NcclRasSource
from offbeat.collector.sources.nic import NicSource
from offbeat.collector.sources.process import ProcessSource
from offbeat.collector.sources.rings import RingsSource
from offbeat.collector.sources.slurm import SlurmSource
from offbeat.collector.sources.states import StatesSource
from offbeat.collector.sources.tcp import TcpSource
from offbeat.collector.stillness import StillnessTracker

AT = 1_700_000_000_000_000_000
ALWAYS = {"heartbeat"}
POLLED = {"rings", "states", "carrier", "kernel_log", "injected"}
ASKED_FOR = {"injected", "dcgm", "nccl_ras", "nccl_log", "nccl_inspector", "flight_recorder"}
NOT_IN_THE_TREE = {"rings", "states", "tcp", "gpu", "ethernet", *ASKED_FOR}


def refuse():
    """Stand in for a kernel without socket diagnostics."""
    raise OSError("Protocol not supported")


def no_gpus():
    """Stand in for a machine without NVIDIA's library."""
    raise NvmlError("NVML Shared Library Not Found")


def made(root, ranks, *, connect=SockDiag):
    """Return every source over the host tree at *root*."""
    proc = root / "proc"
    watched = Interfaces(set, proc=proc, addresses=lambda: [Address("eth0", "192.0.2.2")])
    tracker = StillnessTracker(proc=proc, sys=root / "sys")

    def clock():
        return AT

    carriers = iter([True] + [False] * 1000)
    found = [
        RingsSource("node1", root / "rings", clock=clock),
        StatesSource("node1", ranks, tracker, proc=proc, clock=clock),
        HeartbeatSource(
            "node1",
            ranks,
            incarnation=lambda: 5,
            overwritten=lambda: 2,
            lost_batches=lambda: 3,
            interval_ns=10**9,
            addresses=lambda: [Address("eth0", "192.0.2.2")],
            clock=clock,
        ),
        ProcessSource("node1", ranks, tracker, proc=proc, clock=clock),
        TcpSource("node1", ranks, SocketOwners(proc=proc), connect=connect, clock=clock),
        NicSource("node1", watched, proc=proc, carrier=lambda _name: True, clock=clock),
        CarrierSource("node1", watched, carrier=lambda _name: next(carriers), clock=clock),
        HostSource("node1", proc=proc, sys=root / "sys", filesystems=(), clock=clock),
        GpuSource("node1", ranks, library=no_gpus, clock=clock),
        DcgmSource("node1", "", clock=clock),
        EthernetSource("node1", watched.names, sys=root / "sys", clock=clock),
        InfinibandSource("node1", sys=root / "sys", clock=clock),
        InjectedSource("node1", root / "inject", clock=clock),
        NcclLogSource("node1", ranks, "", clock=clock),
        NcclInspectorSource("node1", ranks, "", proc=proc, clock=clock),
        FlightRecorderSource("node1", ranks, "", clock=clock),
        SlurmSource("node1", ranks, proc=proc, sys=root / "sys", clock=clock),
        KubernetesSource("node1", ranks, proc=proc, sys=root / "sys", clock=clock),
        NcclRasSource("node1", ranks, "", clock=clock),
        KernelLogSource("node1", ranks, path=root / "dev" / "kmsg", clock=clock, since_boot=lambda: 10**9),
    ]
    return {source.name: source for source in found}


NAMES = sorted(made(Path("/nonexistent"), list))


def test_a_source_is_called_like_its_file():
    """Every file of the folder holds one source of its name, and the agent reads every one."""
    files = sorted(module.name for module in pkgutil.iter_modules(sources.__path__))
    assert files == NAMES
    for name in files:
        module = importlib.import_module(f"offbeat.collector.sources.{name}")
        classes = [value for key, value in vars(module).items() if key.endswith("Source") and key != "Source"]
        assert [cls.name for cls in classes] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_absent_is_a_normal_outcome(tmp_path, name):
    """On a machine that has nothing of its kind a source is unsupported or raises NoData, and nothing else."""
    source = made(tmp_path, list, connect=refuse)[name]
    source.is_supported()
    try:
        tables = source.read()
    except NoData:
        assert name not in ALWAYS
    else:
        assert name in ALWAYS
        assert tables


@pytest.mark.parametrize("name", NAMES)
def test_rows_fit_the_registry(host_tree, rank_of, name):
    """What a source returns fits the registry exactly, bears the clock it was given, and names its host."""
    every = made(host_tree, lambda: [rank_of(77)])
    for source in every.values():
        source.is_supported()
    source = every[name]
    found = {}
    for _ in range(3):
        try:
            every["nic"].read()
            found |= source.read()
        except NoData:
            continue
    for table_name, table in found.items():
        assert table.schema.equals(records.schema(table_name), check_metadata=True)
        table.validate(full=True)
        assert table.num_rows
        rows = table.to_pylist()
        assert {row.get("host", "node1") for row in rows} == {"node1"}
        assert {row.get("at", AT) for row in rows} == {AT}
    assert found or name in NOT_IN_THE_TREE


@pytest.mark.parametrize("name", NAMES)
def test_sampled_or_polled(name):
    """A source says whether it is read at every poll."""
    source = made(Path("/nonexistent"), list)[name]
    assert source.sampled is (name not in POLLED)
