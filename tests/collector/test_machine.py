"""Which sources the settings turn on, and what they all say of one copied machine."""

import json
import sys
from pathlib import Path

import pytest

from offbeat.collector.addresses import Address
from offbeat.collector.agent import AgentError, Readers
from offbeat.collector.interfaces import Interfaces
from offbeat.collector.machine import device_sources
from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.host import HostSource
from offbeat.collector.sources.infiniband import InfinibandSource
from offbeat.collector.sources.kernel_log import KernelLogSource
from offbeat.collector.sources.nccl_log import NcclLogSource
from offbeat.collector.sources.nic import NicSource
from offbeat.collector.sources.slurm import SlurmSource
from offbeat.settings import AgentSettings

GOLDEN = Path(__file__).parent / "golden_machine.json"
AT = 1_700_000_000_000_000_000
ON = {"kernel_log", "gpu", "infiniband", "ethernet", "slurm", "kubernetes"}
TREE = {
    "proc/loadavg": "3.25 2.10 1.05 2/345 6789\n",
    "proc/pressure/cpu": "some avg10=1.50 avg60=0.70 avg300=0.20 total=12500000\n",
    "proc/meminfo": "MemTotal: 2048 kB\nMemAvailable: 1024 kB\nSwapFree: 0 kB\n",
    "proc/diskstats": "259 0 nvme0n1 10 0 100 5 20 0 200 5 3 1500 10\n",
    "proc/net/dev": "a\nb\n  eth0: 123 1000 1 2 0 0 0 0 987 2000 3 4 0 0 0 0\n",
    "proc/net/route": "Iface Destination\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    "proc/77/environ": "SLURM_JOB_ID=4711\0SLURM_JOB_NAME=pretrain\0RANK=5\0WORLD_SIZE=8\0CUDA_VISIBLE_DEVICES=3\0",
    "proc/77/cgroup": "0::/job_4711\n",
    "sys/fs/cgroup/job_4711/cpu.stat": "throttled_usec 2500000\n",
    "sys/class/thermal/thermal_zone0/temp": "45000\n",
    "sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n",
    "sys/class/infiniband/mlx5_0/ports/1/phys_state": "5: LinkUp\n",
    "sys/class/infiniband/mlx5_0/ports/1/rate": "400 Gb/sec (4X NDR)\n",
    "sys/class/infiniband/mlx5_0/ports/1/counters/symbol_error": "7\n",
    "sys/class/infiniband/mlx5_0/ports/1/hw_counters/local_ack_timeout_err": "2\n",
    "dev/kmsg": (
        "4,1,100000000,-;NVRM: Xid (PCI:0000:9b:00): 79, pid=77, GPU has fallen off the bus.\n"
        "6,2,100000001,-;Out of memory: Killed process 77 (python) total-vm:1kB\n"
        "4,3,100000002,-;mlx5_core 0000:5e:00.0 ens1f0np0: Link down\n"
    ),
}


def settings(tmp_path, **options):
    """Return an agent's settings that touch nothing of this machine."""
    return AgentSettings(host="node1", ring_dir=tmp_path / "rings", spool_dir=tmp_path / "spool", **options)


def test_what_is_on(tmp_path):
    """Sources of devices are on unless turned off; those that ask programs or follow files are off until told which."""
    watched = Interfaces(set)
    on = device_sources(settings(tmp_path), list, watched)
    assert {source.name for source in on} == ON
    off = device_sources(settings(tmp_path, **dict.fromkeys(ON, False)), list, watched)
    assert off == []
    asked = {
        "dcgm": "http://127.0.0.1:9400/metrics",
        "nccl_ras": "localhost",
        "nccl_log": "/logs/*",
        "nccl_inspector": "/logs/*",
        "flight_recorder_workers": "/run/x.sock",
    }
    every = device_sources(settings(tmp_path, **asked), list, watched)
    names = {"dcgm", "nccl_ras", "nccl_log", "nccl_inspector", "flight_recorder"}
    assert {source.name for source in every} == ON | names


@pytest.mark.parametrize("wrong", [{"dcgm": "http://example.org"}, {"nccl_ras": "example.org:1"}])
def test_a_wrong_setting(tmp_path, wrong):
    """An address that cannot be asked without waiting stops the agent at its start, with the reason."""
    with pytest.raises(AgentError, match=r"example\.org"):
        Readers(settings(tmp_path, **wrong))


def test_the_golden_machine(tmp_path):
    """All that a copied machine says is what it said before; run this file with `--write` after a change on purpose."""
    assert machine(tmp_path) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def machine(root):
    """Write the copied machine below *root* and return all rows that its sources give, without empty columns."""
    for name, text in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    log = root / "nccl.log"
    log.write_text("")
    proc, sys_ = root / "proc", root / "sys"
    watched = Interfaces(set, proc=proc, addresses=lambda: [Address("eth0", "192.0.2.2")])

    def ranks():
        return [LocalRank("job-1", 3, 5, 77)]

    def clock():
        return AT

    logs = NcclLogSource("node1", ranks, str(log), clock=clock)
    sources = [
        NicSource("node1", watched, proc=proc, carrier=lambda _name: True, clock=clock),
        HostSource("node1", proc=proc, sys=sys_, filesystems=(), clock=clock),
        InfinibandSource("node1", sys=sys_, clock=clock),
        SlurmSource("node1", ranks, proc=proc, sys=sys_, clock=clock),
        KernelLogSource("node1", ranks, path=root / "dev" / "kmsg", clock=clock, since_boot=lambda: 101 * 10**9),
        logs,
    ]
    list(logs._tail.lines())
    log.write_text("node1:77:80 [0] net.cc:5 NCCL WARN socketProgress: Connection closed by remote peer node2<40613>\n")
    found = {}
    for source in sources:
        try:
            tables = source.read()
        except NoData:
            continue
        for name, table in tables.items():
            rows = [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]
            found.setdefault(name, []).extend(row for row in rows if row.get("metric") != "cpus")
    return found


if __name__ == "__main__" and "--write" in sys.argv:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(machine(Path(folder)), indent=1) + "\n", encoding="utf-8")
