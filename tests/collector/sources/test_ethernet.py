"""Reading what drivers count: the real ioctl on interfaces of the kernel, and drivers of our own."""

import contextlib
import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.ethtool import Ethtool
from offbeat.collector.source import NoData
from offbeat.collector.sources.ethernet import EthernetSource, read_names

AT = 1_700_000_000 * 10**9


class Driver:
    """Stands in for the ioctl, for adapters that this machine does not have."""

    def __init__(self, counters, speed=100e9):
        self.counters = counters
        self.link = speed
        self.broken = False

    def names(self, interface):
        """Return what it counts."""
        return list(self.counters)

    def values(self, interface, count):
        """Return its counters."""
        if self.broken or count != len(self.counters):
            raise OSError(116, "Stale file handle")
        return list(self.counters.values())

    def speed(self, interface):
        """Return the link's speed."""
        if self.link is None:
            raise OSError(95, "Operation not supported")
        return self.link


@pytest.fixture
def driver():
    """Return an adapter like those of Mellanox."""
    return Driver(
        {
            "rx_packets": 5,
            "link_down_events_phy": 1,
            "rx_symbol_err_phy": 2,
            "rx_prio0_pause": 10,
            "rx_prio3_pause": 20,
            "rx_prio3_pause_duration": 30,
            "outbound_pci_stalled_wr_events": 4,
            "outbound_pci_stalled_rd_events": 5,
            "rx_vport_rdma_unicast_bytes": 2**50,
        }
    )


def source(driver, tmp_path, interfaces=("eth0",)):
    """Return a source that asks every time."""
    found = EthernetSource(
        "node1", lambda: interfaces, sys=tmp_path, connect=lambda: driver, poll_seconds=0, clock=lambda: AT
    )
    assert found.is_supported()
    return found


def test_names_are_the_same_for_all_drivers(driver, tmp_path):
    """What belongs together is summed, what nobody needs is left out."""
    rows = source(driver, tmp_path).read()["gauges"].to_pylist()
    assert {row["metric"]: row["value"] for row in rows} == {
        "nic_link_downed_total": 1,
        "nic_symbol_errors_total": 2,
        "nic_rx_pauses_total": 30,
        "nic_rx_pause_us_total": 30,
        "nic_pci_stalls_total": 9,
        "nic_rdma_rx_bytes": 2**50,
        "nic_speed_bps": 100e9,
    }
    assert {(row["device_kind"], row["device_id"]) for row in rows} == {("nic", "eth0")}


def test_what_changed(driver, tmp_path):
    """A link that flapped and one that came back slower are events."""
    reader = source(driver, tmp_path)
    assert "events" not in reader.read()
    driver.counters["link_down_events_phy"] = 3
    driver.link = 25e9
    rows = reader.read()["events"].to_pylist()
    assert [(row["kind"], row["code"]) for row in rows] == [("nic_link_flapped", 2), ("nic_speed_changed", 25_000)]


def test_a_driver_that_was_loaded_anew(driver, tmp_path):
    """When the counters change their places, their names are read again."""
    reader = source(driver, tmp_path)
    reader.read()
    driver.counters = {"tx_timeout": 7, "rx_symbol_err_phy": 8}
    reader.read()
    values = {row["metric"]: row["value"] for row in reader.read()["gauges"].to_pylist()}
    assert (values["nic_tx_timeouts_total"], values["nic_symbol_errors_total"]) == (7, 8)


def test_interfaces_of_rdma_adapters(driver, tmp_path):
    """An interface that belongs to an RDMA adapter counts though no connection of the job uses it."""
    (tmp_path / "class/infiniband/mlx5_0/device/net/ens1f0np0").mkdir(parents=True)
    rows = source(driver, tmp_path, ()).read()["gauges"].to_pylist()
    assert {row["device_id"] for row in rows} == {"ens1f0np0"}


def test_nothing_to_ask(driver, tmp_path):
    """Without interfaces, or with ones that cannot be asked, there is nothing to say."""
    with pytest.raises(NoData):
        source(driver, tmp_path, ()).read()
    driver.broken, driver.link = True, None
    with pytest.raises(NoData):
        source(driver, tmp_path).read()


@given(st.lists(st.text(max_size=40), max_size=30))
def test_any_names(names):
    """Whatever a driver calls its counters, the places that are summed exist."""
    driver = read_names(names)
    assert driver.count == len(names)
    assert all(0 <= place < len(names) for places in driver.places.values() for place in places)


def test_the_ioctl_on_loopback():
    """Loopback counts nothing and has no speed; an interface that is not there is an error."""
    with contextlib.closing(Ethtool()) as ethtool:
        assert ethtool.names("lo") == []
        with pytest.raises(OSError, match=r"not supported|Invalid"):
            ethtool.speed("lo")
        with pytest.raises(OSError, match="No such device"):
            ethtool.names("nosuch0")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip")
def test_the_ioctl_on_a_real_pair():
    """A pair of virtual interfaces has counters with names, as many values, and a speed."""
    name = f"ob{os.getpid() % 100000}a"
    made = subprocess.run(
        ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name[:-1]}b"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no virtual interfaces here: {made.stderr.decode()}")
    try:
        with contextlib.closing(Ethtool()) as ethtool:
            names = ethtool.names(name)
            assert "peer_ifindex" in names
            values = dict(zip(names, ethtool.values(name, len(names)), strict=True))
            assert values["peer_ifindex"] > 0
            assert ethtool.speed(name) == 10e9
            with pytest.raises(OSError, match="counts something else"):
                ethtool.values(name, len(names) + 1)
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)
