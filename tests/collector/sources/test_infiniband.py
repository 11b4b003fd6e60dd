"""Reading RDMA adapters from sysfs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.source import NoData
from offbeat.collector.sources.infiniband import InfinibandSource

SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "sysfs"
AT = 1_700_000_000 * 10**9


class Adapter:
    """One port of an adapter, as files."""

    def __init__(self, root, name="mlx5_0"):
        self.folder = root / "class" / "infiniband" / name / "ports" / "1"
        for kind in ("counters", "hw_counters"):
            (self.folder / kind).mkdir(parents=True)
        self.set("state", "4: ACTIVE")
        self.set("phys_state", "5: LinkUp")
        self.set("rate", "400 Gb/sec (4X NDR)")
        self.set("link_layer", "InfiniBand")
        for counter in ("port_rcv_data", "port_xmit_data", "symbol_error", "link_downed"):
            self.set(f"counters/{counter}", "250")
        self.set("hw_counters/local_ack_timeout_err", "7")
        self.set("hw_counters/lifespan", "10")

    def set(self, name, text):
        """Let a file say something else."""
        (self.folder / name).write_text(f"{text}\n")


@pytest.fixture
def adapter(tmp_path):
    """Return a healthy port."""
    return Adapter(tmp_path)


def source(root):
    """Return a source that reads counters every time."""
    return InfinibandSource("node1", sys=root, counter_seconds=0, clock=lambda: AT)


def gauges(tables, device="mlx5_0:1"):
    """Return a port's values by metric."""
    return {row["metric"]: row["value"] for row in tables["gauges"].to_pylist() if row["device_id"] == device}


def test_what_a_port_says(tmp_path, adapter):
    """State, speed in bits a second, bytes made of words, and errors."""
    assert gauges(source(tmp_path).read()) == {
        "nic_port_state": 4,
        "carrier": 1,
        "nic_speed_bps": 400e9,
        "rx_bytes": 1000,
        "tx_bytes": 1000,
        "nic_symbol_errors_total": 250,
        "nic_link_downed_total": 250,
        "nic_ack_timeouts_total": 7,
    }


def test_a_link_that_goes_down_and_comes_back(tmp_path, adapter):
    """The loss of the carrier is an event at once, and so is its return."""
    reader = source(tmp_path)
    assert "events" not in reader.read()
    adapter.set("phys_state", "2: Polling")
    (lost,) = reader.read()["events"].to_pylist()
    adapter.set("phys_state", "5: LinkUp")
    (found,) = reader.read()["events"].to_pylist()
    assert (lost["kind"], lost["device_kind"], lost["device_id"]) == ("carrier_lost", "nic", "mlx5_0:1")
    assert found["kind"] == "carrier_found"
    assert "events" not in reader.read()


def test_a_flap_between_two_readings(tmp_path, adapter):
    """A link that was down only between two readings is told by its counter."""
    reader = source(tmp_path)
    reader.read()
    adapter.set("counters/link_downed", "252")
    (row,) = reader.read()["events"].to_pylist()
    assert (row["kind"], row["code"]) == ("nic_link_flapped", 2)


def test_a_slower_link(tmp_path, adapter):
    """A link that comes back slower is an event with both speeds."""
    reader = source(tmp_path)
    reader.read()
    adapter.set("rate", "100 Gb/sec (4X EDR)")
    (row,) = reader.read()["events"].to_pylist()
    assert (row["kind"], row["code"]) == ("nic_speed_changed", 100_000)
    assert row["message"] == "mlx5_0:1: 400 Gb/s became 100"


def test_an_adapter_that_disappears(tmp_path, adapter):
    """An adapter whose files are gone is an event, once."""
    reader = source(tmp_path)
    reader.read()
    adapter.folder.parents[1].rename(tmp_path / "gone")
    (row,) = reader.read()["events"].to_pylist()
    assert (row["kind"], row["device_id"]) == ("nic_gone", "mlx5_0:1")
    with pytest.raises(NoData):
        reader.read()


def test_a_port_without_a_cable(tmp_path, adapter):
    """A port that never was up has no carrier to lose."""
    adapter.set("state", "1: DOWN")
    adapter.set("phys_state", "3: Disabled")
    found = source(tmp_path).read()
    assert "carrier" not in gauges(found)
    assert "events" not in found


def test_counters_are_read_seldom(tmp_path, adapter):
    """Between two readings of the counters only the state is read."""
    reader = InfinibandSource("node1", sys=tmp_path, counter_seconds=3600)
    assert "rx_bytes" in gauges(reader.read())
    assert set(gauges(reader.read())) == {"nic_port_state", "carrier", "nic_speed_bps"}


def test_no_adapter(tmp_path):
    """A machine without adapters has nothing to say."""
    assert not source(tmp_path).is_supported()
    with pytest.raises(NoData):
        source(tmp_path).read()


@given(
    st.dictionaries(st.sampled_from(["state", "phys_state", "rate", "counters/link_downed"]), st.binary(max_size=40))
)
def test_whatever_the_files_say(tmp_path_factory, files):
    """No content of the files makes the source fail."""
    root = tmp_path_factory.mktemp("sys")
    adapter = Adapter(root)
    reader = source(root)
    reader.read()
    for name, data in files.items():
        (adapter.folder / name).write_bytes(data)
    reader.read()


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples/sysfs")
def test_a_real_tree(tmp_path):
    """All nine adapters of a real host are read, and an invented tree with two."""
    (tmp_path / "class").symlink_to(SAMPLES / "h100")
    found = source(tmp_path).read()
    ports = {row["device_id"] for row in found["gauges"].to_pylist()}
    assert len(ports) == 9
    assert gauges(found)["nic_speed_bps"] == 400e9
    assert len(gauges(found)) > 20


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/samples/sysfs")
def test_an_invented_tree(tmp_path):
    """A tree written out from a map of files reads as well."""
    for name, text in json.loads((SAMPLES / "infiniband_two_hcas.json").read_text()).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = source(tmp_path).read()
    assert {row["device_id"] for row in found["gauges"].to_pylist()} == {"mlx5_0:1", "mlx5_1:1"}
    assert gauges(found)["tx_bytes"] == 8_100_000_000_000
