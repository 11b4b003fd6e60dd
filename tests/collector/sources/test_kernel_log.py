"""Reading the kernel's log."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.source import NoData
from offbeat.collector.sources.kernel_log import HISTORY_SECONDS, REPEAT_SECONDS, KernelLogSource

NOW = 1_700_000_000 * 10**9
BOOT = 500 * 10**9
SAMPLE = Path(__file__).parents[4] / "shared" / "samples" / "logs" / "kmsg.txt"


def record(text, *, seconds=499.0, priority=4, number=1):
    """Return one record as the kernel writes it."""
    return f"{priority},{number},{int(seconds * 1e6)},-;{text}\n"


def source(path, ranks=list, gpus=dict, boot=lambda: BOOT):
    """Return a supported source that reads *path*."""
    found = KernelLogSource("node1", ranks, gpus=gpus, path=path, clock=lambda: NOW, since_boot=boot)
    assert found.is_supported()
    return found


def test_an_xid_is_an_event_of_its_gpu(tmp_path):
    """An XID has its number as code, the time of its record, and the GPU's index where that is known."""
    log = tmp_path / "kmsg"
    log.write_text(
        record("NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus.")
        + " SUBSYSTEM=pci\n DEVICE=+pci:0000:9b:00.0\n"
        + record("NVRM: Xid (PCI:0000:3b:00): 48, DBE")
    )
    first, second = source(log, gpus=lambda: {"0000:9b:00.0": "4"}).read()["events"].to_pylist()
    assert (first["kind"], first["code"], first["device_kind"], first["device_id"]) == ("xid", 79, "gpu", "4")
    assert first["at"] == NOW - 10**9
    assert second["device_id"] == "0000:3b:00.0"


def test_the_log_is_followed(tmp_path):
    """Each record is told once, in the order of the log."""
    log = tmp_path / "kmsg"
    log.write_text("")
    reader = source(log)
    with pytest.raises(NoData):
        reader.read()
    for pid in (5, 6):
        with log.open("a") as file:
            file.write(record(f"Out of memory: Killed process {pid} (python)"))
        assert [row["code"] for row in reader.read()["events"].to_pylist()] == [pid]
    with pytest.raises(NoData):
        reader.read()


def test_old_records_and_those_of_programs_are_left_out(tmp_path):
    """What was logged long before the agent started is history, and only the kernel is believed."""
    line = "Out of memory: Killed process 5 (python)"
    log = tmp_path / "kmsg"
    log.write_text(record(line, seconds=499 - HISTORY_SECONDS) + record(line, priority=12))
    with pytest.raises(NoData):
        source(log).read()


def test_a_killed_rank_is_named(tmp_path, rank_of):
    """When the kernel kills a rank's process the event is that rank's."""
    log = tmp_path / "kmsg"
    log.write_text(record("Out of memory: Killed process 77 (python)"))
    (row,) = source(log, lambda: [rank_of(77, 5)]).read()["events"].to_pylist()
    assert (row["job"], row["rank"]) == ("job-1", 5)


def test_a_flood_is_one_event(tmp_path):
    """Lines that say the same again and again are told now and then, with how many were left out."""
    log = tmp_path / "kmsg"
    line = "pcieport 0000:16:01.0: AER: Corrected error message received from 0000:1b:00.0"
    log.write_text(record(line, seconds=480) * 100)
    reader = source(log)
    assert reader.read()["events"].num_rows == 1
    with log.open("a") as file:
        file.write(record(line, seconds=480.1 + REPEAT_SECONDS))
    (row,) = reader.read()["events"].to_pylist()
    assert row["message"].endswith("(and 99 like it since the last)")


def test_no_log_no_data(tmp_path):
    """Without a log, or without the right to read it, there is nothing to say."""
    reader = KernelLogSource("node1", list, path=tmp_path / "none")
    assert not reader.is_supported()
    with pytest.raises(NoData):
        reader.read()


@given(st.lists(st.one_of(st.binary(max_size=80), st.builds(lambda t: record(t).encode(), st.text(max_size=60)))))
def test_whatever_stands_in_it(tmp_path_factory, parts):
    """No content of the log makes the source fail."""
    log = tmp_path_factory.mktemp("log") / "kmsg"
    log.write_bytes(b"".join(parts))
    reader = source(log)
    try:
        reader.read()
    except NoData:
        pass
    finally:
        reader.close()


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="the kernel's log may not be read here")
def test_the_log_of_this_machine():
    """The real log is read to its end, record by record, without waiting for more."""
    reader = KernelLogSource("node1", list)
    if not reader.is_supported():
        pytest.skip("the kernel restricts its log")
    reader._oldest = 0
    for _ in range(100):
        with contextlib.suppress(NoData):
            reader.read()
    with pytest.raises(BlockingIOError):
        os.read(reader._file, 8192)
    reader.close()


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs ../shared/samples/logs")
def test_a_sample_log():
    """Every faulty line of the sample is an event."""
    reader = KernelLogSource("node1", list, path=SAMPLE, clock=lambda: NOW, since_boot=lambda: 100 * 10**9)
    rows = reader.read()["events"].to_pylist()
    told = sorted({row["code"] for row in rows if row["kind"] == "xid"})
    assert told == [48, 63, 79, 119, 149]
    assert len(rows) == len(SAMPLE.read_text().splitlines()) - len(re.findall("GPU at PCI", SAMPLE.read_text()))
