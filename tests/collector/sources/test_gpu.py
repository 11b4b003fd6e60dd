"""Reading GPUs, through the real binding and a library of our own in place of NVIDIA's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import wait_until

from offbeat.collector.nvml import NvmlError
from offbeat.collector.source import NoData
from offbeat.collector.sources.gpu import GpuSource

COMPILER = shutil.which("cc") or shutil.which("gcc")
HERE = Path(__file__).parent
HEALTHY = {
    "temperature": 61,
    "sm_clock": 1980,
    "sm_clock_max": 1980,
    "memory_clock": 2619,
    "power": 650500,
    "power_limit": 700000,
    "width": 16,
    "width_max": 16,
    "generation": 5,
    "generation_max": 5,
    "replays": 0,
    "reasons": 0,
    "utilization": 99,
    "memory_used": 60e9,
    "memory_total": 80e9,
    "ecc_uncorrectable": 0,
    "ecc_correctable": 3,
    "rows_pending": 0,
    "link0": 1,
    "link1": 1,
    "field82": 70,
    "field38": 0,
    "field45": 0,
    "field52": 2,
    "field59": 0,
}

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Return the folder of a libnvidia-ml.so.1 of our own."""
    folder = tmp_path_factory.mktemp("nvml")
    output = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [COMPILER, "-O1", "-shared", "-fPIC", "-Wall", "-o", output, HERE / "fake_nvml.c"], check=True, timeout=60
    )
    return folder


class Machine:
    """A machine with two GPUs that are files, and a program that reads them."""

    def __init__(self, root, library):
        self.root = root
        for gpu in ("0", "1"):
            (root / gpu).mkdir()
            for name, value in HEALTHY.items():
                self.set(gpu, name, value)
            self.set(gpu, "pci", f"00000000:{'19'[int(gpu)]}B:00.0")
            self.set(gpu, "uuid", f"GPU-{gpu}")
        self.set(".", "count", 2)
        self.library = library

    def set(self, gpu, name, value):
        """Let a call say something else; None for not supported."""
        path = self.root / gpu / name
        if value is None:
            path.unlink()
            return
        fresh = path.with_name(f"{name}.new")
        fresh.write_text(str(value))
        fresh.replace(path)

    def start(self):
        """Start the program and return what it says first."""
        environment = os.environ | {"LD_LIBRARY_PATH": str(self.library), "FAKE_NVML": str(self.root)}
        self.program = subprocess.Popen(
            [sys.executable, HERE / "gpu_program.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return json.loads(self.program.stdout.readline())

    def read(self, pid=""):
        """Return what the source reads, by table."""
        self.program.stdin.write(f"{pid}\n")
        self.program.stdin.flush()
        return json.loads(self.program.stdout.readline())

    def gauges(self, gpu, *names):
        """Return the newest values of a GPU once all of *names* were read again."""
        found = {}

        def complete():
            for row in self.read().get("gauges", []):
                if row["device_id"] == gpu:
                    found[row["metric"]] = row["value"]
            return found if all(name in found for name in names) else None

        return wait_until(complete)

    def event(self, kind):
        """Return the next event of a kind."""
        return wait_until(lambda: next((row for row in self.read().get("events", []) if row["kind"] == kind), None))

    def close(self):
        """End the program."""
        self.program.kill()
        self.program.stdin.close()
        self.program.stdout.close()
        self.program.wait()


@pytest.fixture
def machine(tmp_path, library):
    """Return a machine with two GPUs."""
    found = Machine(tmp_path, library)
    yield found
    if hasattr(found, "program"):
        found.close()


def test_what_a_gpu_says(machine):
    """Every gauge has its unit, and GPUs are known by their PCI addresses."""
    said = machine.start()
    assert said == {"supported": True, "why": None, "addresses": {"0000:1b:00.0": "0", "0000:9b:00.0": "1"}}
    found = machine.gauges("0", "gpu_nvlink_errors_total", "gpu_throttle_thermal")
    assert found == {
        "gpu_temperature_celsius": 61,
        "gpu_memory_temperature_celsius": 70,
        "gpu_sm_clock_hz": 1.98e9,
        "gpu_sm_clock_max_hz": 1.98e9,
        "gpu_memory_clock_hz": 2.619e9,
        "gpu_power_watts": 650.5,
        "gpu_power_limit_watts": 700,
        "gpu_throttle_thermal": 0,
        "gpu_throttle_power": 0,
        "gpu_throttle_power_brake": 0,
        "gpu_throttle_hardware": 0,
        "gpu_utilization_ratio": 0.99,
        "gpu_memory_used_bytes": 60e9,
        "gpu_memory_total_bytes": 80e9,
        "gpu_ecc_uncorrectable_total": 0,
        "gpu_ecc_correctable_total": 3,
        "gpu_remapped_rows_correctable_total": 0,
        "gpu_remapped_rows_uncorrectable_total": 1,
        "gpu_remapped_rows_pending": 0,
        "gpu_remapped_rows_failure": 0,
        "gpu_pcie_width": 16,
        "gpu_pcie_width_max": 16,
        "gpu_pcie_generation": 5,
        "gpu_pcie_generation_max": 5,
        "gpu_pcie_replays_total": 0,
        "gpu_nvlinks": 2,
        "gpu_nvlinks_active": 2,
        "gpu_nvlink_errors_total": 2,
    }


@pytest.mark.parametrize(
    ("reasons", "thermal", "power", "brake", "hardware"),
    [(0x1, 0, 0, 0, 0), (0x4, 0, 1, 0, 0), (0x20, 1, 0, 0, 0), (0x48, 1, 0, 0, 1), (0x88, 0, 1, 1, 1)],
)
def test_why_clocks_are_down(machine, reasons, thermal, power, brake, hardware):
    """The driver's reasons are told apart by heat, power and hardware; being idle is none."""
    machine.set("1", "reasons", reasons)
    machine.start()
    found = machine.gauges("1", "gpu_throttle_thermal")
    names = ("thermal", "power", "power_brake", "hardware")
    assert [found[f"gpu_throttle_{name}"] for name in names] == [thermal, power, brake, hardware]


def test_links_of_the_fifth_generation(machine):
    """Where errors are counted for each link, those of the links that are up are summed."""
    for name in ("field38", "field45", "field52", "field59"):
        machine.set("0", name, None)
    for name, value in {"field208.0": 3, "field211.1": 4, "link2": 0, "field208.2": 100}.items():
        machine.set("0", name, value)
    machine.start()
    found = machine.gauges("0", "gpu_nvlink_errors_total")
    assert (found["gpu_nvlinks"], found["gpu_nvlinks_active"], found["gpu_nvlink_errors_total"]) == (3, 2, 7)


def test_what_a_gpu_does_not_know(machine):
    """A GPU that knows nothing but its heat gives that."""
    for name in HEALTHY:
        if name != "temperature":
            machine.set("0", name, None)
    machine.start()
    assert machine.gauges("0", "gpu_temperature_celsius") == {"gpu_temperature_celsius": 61}


def test_an_xid(machine):
    """An XID is an event of its GPU, with its number."""
    machine.start()
    machine.set(".", "xid", "1 79")
    row = machine.event("xid")
    assert (row["device_kind"], row["device_id"], row["code"]) == ("gpu", "1", 79)
    assert "fallen off the bus" in row["message"]


def test_a_lost_gpu(machine):
    """A GPU that the library has lost is told once; the others go on."""
    machine.start()
    machine.set("0", "lost", 1)
    assert machine.event("gpu_lost")["device_id"] == "0"
    assert machine.gauges("1", "gpu_temperature_celsius")["gpu_temperature_celsius"] == 61


def test_a_library_that_hangs(machine):
    """When the library does not answer reading goes on without waiting, and that it is silent is told."""
    machine.start()
    machine.gauges("0", "gpu_temperature_celsius")
    machine.set("0", "hang", 1)
    assert machine.event("gpu_telemetry_stuck")["device_kind"] == "gpu"
    machine.set("0", "hang", None)
    machine.event("gpu_telemetry_back")


def test_whose_gpu_it_is(machine):
    """A rank whose process computes on a GPU is said to have it, once."""
    machine.set("1", "pid", 4242)
    machine.start()
    (row,) = wait_until(lambda: machine.read(4242).get("ranks"))
    assert (row["job"], row["attempt"], row["rank"], row["gpu"], row["gpu_uuid"]) == ("job-1", 3, 5, 1, "GPU-1")
    assert not any(machine.read(4242).get("ranks") for _ in range(5))


@pytest.mark.parametrize(("setting", "why"), [(("count", 0), "NVML knows no GPU"), (("init", 9), "Driver Not Loaded")])
def test_a_driver_without_gpus(machine, setting, why):
    """A library that finds no GPU, or no driver, is no source, and says why."""
    machine.set(".", *setting)
    said = machine.start()
    assert (said["supported"], said["why"]) == (False, why)
    assert machine.read() == {}


def test_no_library():
    """Without the library there is nothing to say, whatever it fails with."""

    def broken():
        raise MemoryError("no room")

    def absent():
        raise NvmlError("NVML Shared Library Not Found")

    for library in (absent, broken):
        source = GpuSource("node1", list, library=library)
        assert not source.is_supported()
        assert source.failure
        with pytest.raises(NoData):
            source.read()
