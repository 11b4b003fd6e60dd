"""What tests of sources share: ranks that are real processes, and a copied host tree."""

import pytest

from offbeat.collector.source import LocalRank


@pytest.fixture
def rank_of():
    """Return a function that makes a rank of a process id."""
    return lambda pid, rank=0: LocalRank("job-1", 3, rank, pid)


@pytest.fixture
def host_tree(tmp_path):
    """Return the root of a small copied host: load, pressure, network, one process, the kernel's log, an adapter."""
    proc = tmp_path / "proc"
    port = tmp_path / "sys" / "class" / "infiniband" / "mlx5_0" / "ports" / "1"
    port.mkdir(parents=True)
    (port / "state").write_text("4: ACTIVE\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kmsg").write_text(
        "4,7,1000000,-;NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus.\n"
    )
    files = {
        "loadavg": "3.25 2.10 1.05 2/345 6789\n",
        "pressure/cpu": "some avg10=1.50 avg60=0.70 avg300=0.20 total=12500000\nfull avg10=0.00 total=0\n",
        "pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 total=1\n",
        "pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=4000000\nfull avg10=0.00 total=1\n",
        "net/dev": (
            "Inter-|   Receive                                                |  Transmit\n"
            " face |bytes packets errs drop fifo frame compressed multicast"
            "|bytes packets errs drop fifo colls carrier compressed\n"
            "    lo: 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0\n"
            "  eth0: 123456789 1000 1 2 0 0 0 0 987654321 2000 3 4 0 0 0 0\n"
            "ib-long0:55 1 0 0 0 0 0 0 66 1 0 0 0 0 0 0\n"
        ),
        "net/route": (
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        ),
        "net/ipv6_route": (
            f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200 lo\n"
            f"fd00{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001 eth0\n"
        ),
        "self/stat": "1 (x) S 0 1 1 0 -1 0" + " 0" * 43 + "\n",
        "77/stat": "77 (python3 (a) b) S 1 77 77 0 -1 4194304 500 0 7 0 150 50 0 0 20 0 2 0 4242 1000000 2560"
        + " 0" * 28
        + "\n",
        "77/task/77/schedstat": "2000000000 300000000 17\n",
        "77/task/78/schedstat": "1000000000 200000000 5\n",
        "77/task/77/stat": "77 (python3 (a) b) S 1 77 77 0 -1 4194304 500 0 7 0 150 50 0 0 20 0 2 0 4242 1000000 2560"
        + " 0" * 28
        + "\n",
        "77/cgroup": "0::/\n",
        "77/environ": "SLURM_JOB_ID=4711\0KUBERNETES_SERVICE_HOST=10.0.0.1\0HOSTNAME=job-0\0RANK=0\0WORLD_SIZE=2\0",
        "self/schedstat": "0 0 0\n",
    }
    for name, text in files.items():
        path = proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path
