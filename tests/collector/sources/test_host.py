"""The host source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.source import NoData
from offbeat.collector.sources.host import HostSource


def on(root):
    """Return a source that reads the copied machine at *root*."""
    return HostSource("node1", proc=root / "proc", sys=root / "sys", filesystems=(), slow_seconds=0)


def values(source):
    """Return the gauges of one reading by metric."""
    return {row["metric"]: row["value"] for row in source.read()["gauges"].to_pylist()}


def test_pressure_and_load(host_tree):
    """Stall times are the cumulative totals of "some" in seconds; load is that of the last minute."""
    found = values(on(host_tree))
    assert found.pop("cpus") >= 1
    assert found == {
        "cpu_pressure_seconds": 12.5,
        "memory_pressure_seconds": 0.25,
        "io_pressure_seconds": 4.0,
        "load1": 3.25,
    }


def test_kernel_without_pressure(host_tree):
    """A kernel without stall information still tells its load."""
    for name in ("cpu", "memory", "io"):
        (host_tree / "proc/pressure" / name).unlink()
    assert sorted(values(on(host_tree))) == ["cpus", "load1"]


@pytest.mark.parametrize("text", ["", "some avg10=0.00\n", "some total=x\n", "\0\0"])
def test_odd_pressure_is_left_out(host_tree, text):
    """A pressure file of another form is left out, not guessed at."""
    (host_tree / "proc/pressure/cpu").write_text(text)
    found = values(on(host_tree))
    assert "cpu_pressure_seconds" not in found
    assert found["io_pressure_seconds"] == 4.0


def test_this_machine():
    """The machine that runs the tests has at least a load and a processor."""
    found = values(HostSource("node1"))
    assert found["cpus"] >= 1
    assert found["load1"] >= 0


def test_nothing_at_all(tmp_path):
    """Where nothing can be read there is no data."""
    source = on(tmp_path)
    assert not source.is_supported()
    with pytest.raises(NoData):
        source.read()


def test_memory_heat_and_disks(host_tree):
    """Memory in bytes, the hottest zone, and whole disks that were used; a file system is a disk called by its path."""
    files = {
        "proc/meminfo": "MemTotal:  1024 kB\nMemFree: 1 kB\nMemAvailable:   512 kB\nSwapFree: 0 kB\n",
        "proc/vmstat": "nr_free_pages 5\noom_kill 2\n",
        "proc/diskstats": (
            "7 0 loop0 5 0 8 0 5 0 8 0 0 0 0\n"
            "259 0 nvme0n1 10 0 100 5 20 0 200 5 3 1500 10 0 0 0 0\n"
            "259 1 nvme0n1p1 10 0 100 5 20 0 200 5 3 1500 10 0 0 0 0\n"
            "8 0 sda 0 0 0 0 0 0 0 0 0 0 0\n"
        ),
        "sys/class/thermal/thermal_zone0/temp": "45000\n",
        "sys/class/thermal/thermal_zone1/temp": "71500\n",
        "sys/class/thermal/thermal_zone2/temp": "-274000\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n",
        "sys/devices/system/cpu/cpufreq": None,
    }
    for name, text in files.items():
        path = host_tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir()
        else:
            path.write_text(text)
    source = HostSource(
        "node1", proc=host_tree / "proc", sys=host_tree / "sys", filesystems=(host_tree, host_tree / "none")
    )
    rows = source.read()["gauges"].to_pylist()
    host = {row["metric"]: row["value"] for row in rows if row["device_kind"] == "host"}
    assert (
        host.items()
        >= {
            "memory_total_bytes": 1 << 20,
            "memory_available_bytes": 1 << 19,
            "swap_free_bytes": 0,
            "oom_kills_total": 2,
            "temperature_celsius": 71.5,
            "cpu_throttles_total": 7,
        }.items()
    )
    disks = {(row["device_id"], row["metric"]): row["value"] for row in rows if row["device_kind"] == "disk"}
    assert {device for device, _ in disks} == {"nvme0n1", str(host_tree)}
    assert disks["nvme0n1", "disk_read_bytes"] == 51200
    assert disks["nvme0n1", "disk_written_bytes"] == 102400
    assert disks["nvme0n1", "disk_busy_seconds"] == 1.5
    assert disks["nvme0n1", "disk_in_flight"] == 3
    assert disks[str(host_tree), "filesystem_free_bytes"] <= disks[str(host_tree), "filesystem_total_bytes"]
    assert "memory_total_bytes" not in values(source)


@given(st.sampled_from(["meminfo", "vmstat", "diskstats"]), st.binary(max_size=200))
def test_whatever_the_files_say(tmp_path_factory, name, data):
    """No content of the files makes the source fail."""
    root = tmp_path_factory.mktemp("host")
    (root / "proc").mkdir()
    (root / "proc" / name).write_bytes(b"MemTotal: 5 kB\noom_kill 1\n8 0 sda 1 1 1 1 1 1 1 1 1 1 1\n" + data)
    on(root).read()
