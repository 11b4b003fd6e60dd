"""Scraping a dcgm-exporter."""

import contextlib
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_server import PageServer
from support import wait_until

from offbeat.collector.source import NoData
from offbeat.collector.sources.dcgm import DcgmSource

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "prometheus"
AT = 1_700_000_000 * 10**9
LABELS = 'UUID="GPU-x",pci_bus_id="00000000:1B:00.0",device="nvidia0",modelName="H100",Hostname="node01"'


def line(field, value, gpu="0"):
    """Return a line as the exporter writes it."""
    return f'{field}{{gpu="{gpu}",{LABELS}}} {value}\n'


@pytest.fixture
def exporter():
    """Return an exporter, as a real server."""
    server = PageServer()
    yield server
    server.close()


@pytest.fixture
def source(exporter):
    """Return a source that scrapes the exporter whenever it is read."""
    return DcgmSource("node1", f"http://127.0.0.1:{exporter.port}/metrics", scrape_seconds=0, clock=lambda: AT)


def scrape(source, exporter, text):
    """Return what the source makes of *text*."""
    exporter.pages["/metrics"] = text.encode()

    def read():
        try:
            return source.read()
        except NoData:
            return None

    return wait_until(read)


def values(tables, gpu="0"):
    """Return a GPU's values by metric."""
    return {row["metric"]: row["value"] for row in tables["gauges"].to_pylist() if row["device_id"] == gpu}


def test_the_same_names_as_nvml(source, exporter):
    """What the exporter says comes under the names and in the units of the other GPU source."""
    text = (
        line("DCGM_FI_DEV_GPU_TEMP", 61)
        + line("DCGM_FI_DEV_SM_CLOCK", 1980)
        + line("DCGM_FI_DEV_FB_USED", 2)
        + line("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 2)
        + line("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", 3)
        + line("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", 0x40)
        + line("DCGM_FI_DEV_POWER_USAGE", 9223372036854775794)
        + line("DCGM_FI_DEV_MEMORY_TEMP", 2147483632)
        + line("DCGM_FI_DEV_GPU_TEMP", 99, gpu="x")
        + f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",GPU_I_ID="3",{LABELS}}} 98\n'
        + "process_cpu_seconds_total 5\n"
    )
    assert values(scrape(source, exporter, text)) == {
        "gpu_temperature_celsius": 61,
        "gpu_sm_clock_hz": 1.98e9,
        "gpu_memory_used_bytes": 2 << 20,
        "gpu_nvlink_errors_total": 5,
        "gpu_throttle_thermal": 1,
        "gpu_throttle_power": 0,
        "gpu_throttle_power_brake": 0,
        "gpu_throttle_hardware": 0,
    }


def test_an_xid_is_told_when_it_changes(source, exporter):
    """The exporter repeats the last XID for ever: what was there at the start is old, and each is told once."""
    assert "events" not in scrape(
        source, exporter, line("DCGM_FI_DEV_XID_ERRORS", 31) + line("DCGM_FI_DEV_GPU_TEMP", 1)
    )
    found = scrape(source, exporter, line("DCGM_FI_DEV_XID_ERRORS", 79) + line("DCGM_FI_DEV_GPU_TEMP", 1))
    (row,) = found["events"].to_pylist()
    assert (row["kind"], row["code"], row["device_kind"], row["device_id"]) == ("xid", 79, "gpu", "0")
    assert "events" not in scrape(
        source, exporter, line("DCGM_FI_DEV_XID_ERRORS", 79) + line("DCGM_FI_DEV_GPU_TEMP", 1)
    )


def test_throttled_while_the_time_grows(source, exporter):
    """A GPU is throttled while the exporter's count of throttled time grows."""
    seen = []
    for time in (100, 100, 150, 150):
        found = values(scrape(source, exporter, line("DCGM_FI_DEV_THERMAL_VIOLATION", time)))
        seen.append(found["gpu_throttle_thermal"])
    assert seen == [0, 0, 1, 0]


def test_an_exporter_that_fails(source, exporter):
    """An exporter that answers with an error, or is away, is an error of this source alone."""
    with pytest.raises(OSError, match="404"):
        wait_until(lambda: _patient(source))
    exporter.close()
    with pytest.raises(OSError, match="refused"):
        wait_until(lambda: _patient(source))


def _patient(source):
    try:
        return source.read()
    except NoData:
        return None


def test_an_exporter_that_does_not_answer():
    """One that accepts and says nothing costs no time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = DcgmSource("node1", f"127.0.0.1:{server.getsockname()[1]}", scrape_seconds=0)
        for _ in range(100):
            with pytest.raises(NoData):
                source.read()


@pytest.mark.parametrize("url", ["https://127.0.0.1:9400/metrics", "http://example.org/metrics", "http://127.0.0.1:x"])
def test_urls(url):
    """A URL that cannot be asked without waiting is refused at the start."""
    with pytest.raises(ValueError):
        DcgmSource("node1", url)


@given(st.lists(st.one_of(st.text(max_size=40), st.builds(line, st.just("DCGM_FI_DEV_XID_ERRORS"), st.floats()))))
def test_whatever_it_says(lines):
    """No text makes the source fail."""
    source = DcgmSource("node1", "")
    for _ in range(2):
        with contextlib.suppress(NoData):
            source._tables("".join(lines))


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples/prometheus")
@pytest.mark.parametrize("name", ["dcgm_exporter_3.x.txt", "dcgm_exporter_4.8.txt"])
def test_samples(source, exporter, name):
    """Both generations of the exporter read alike: one GPU is hot and slow."""
    found = scrape(source, exporter, (SAMPLES / name).read_text())
    slow = values(found, "3")
    assert (slow["gpu_sm_clock_hz"], slow["gpu_temperature_celsius"]) == (1.215e9, 88)
    assert values(found, "1")["gpu_pcie_replays_total"] > 0
