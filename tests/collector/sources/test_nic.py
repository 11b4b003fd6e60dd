"""The network adapters: which ones matter, their counters, and their carriers."""

import os
import shutil
import subprocess
import sys

import pytest

from offbeat.collector.addresses import Address, host_addresses
from offbeat.collector.interfaces import Interfaces
from offbeat.collector.links import Links
from offbeat.collector.source import NoData
from offbeat.collector.sources.carrier import CarrierSource
from offbeat.collector.sources.nic import NicSource

ADDRESSES = [Address("ib-long0", "198.18.0.10"), Address("docker0", "172.17.0.1"), Address("eth0", "192.0.2.2")]


def test_interfaces_of_the_job_and_the_default_route(host_tree):
    """An interface matters if it has the default route, or an address that the job's connections use."""
    used = set()
    watched = Interfaces(lambda: used, proc=host_tree / "proc", addresses=lambda: ADDRESSES)
    watched.refresh()
    assert watched.names() == ["eth0"]
    used.add("198.18.0.10")
    watched.refresh()
    assert watched.names() == ["eth0", "ib-long0"]


def test_interface_stays_though_its_route_went(host_tree):
    """An interface that mattered is still looked at when its route and the job's connections are gone."""
    used = {"198.18.0.10"}
    watched = Interfaces(lambda: used, proc=host_tree / "proc", addresses=lambda: ADDRESSES)
    watched.refresh()
    used.clear()
    (host_tree / "proc/net/route").write_text("")
    watched.refresh()
    assert watched.names() == ["eth0", "ib-long0"]


def test_counters(host_tree):
    """Counters are those of the interface, in bytes and packets; names may touch their colon."""
    watched = Interfaces(lambda: {"198.18.0.10"}, proc=host_tree / "proc", addresses=lambda: ADDRESSES)
    source = NicSource("node1", watched, proc=host_tree / "proc", carrier=lambda name: name == "eth0")
    found = {(row["device_id"], row["metric"]): row["value"] for row in source.read()["gauges"].to_pylist()}
    eth0 = {metric: value for (name, metric), value in found.items() if name == "eth0"}
    assert eth0 == {
        "carrier": 1.0,
        "rx_bytes": 123456789.0,
        "tx_bytes": 987654321.0,
        "rx_errors": 1.0,
        "rx_dropped": 2.0,
        "tx_errors": 3.0,
        "tx_dropped": 4.0,
    }
    assert found["ib-long0", "rx_bytes"] == 55.0
    assert found["ib-long0", "carrier"] == 0.0


def test_carrier_changes_are_events(host_tree):
    """The first look is no change; losing and finding the carrier are, and an interface that is gone has lost it."""
    watched = Interfaces(set, proc=host_tree / "proc", addresses=lambda: ADDRESSES)
    watched.refresh()
    said = [True, True, False, False, True, None]
    source = CarrierSource("node1", watched, carrier=lambda _name: said.pop(0))
    events = []
    while said:
        try:
            events += source.read()["events"].to_pylist()
        except NoData:
            events.append(None)
    kinds = [event and (event["kind"], event["device_kind"], event["device_id"]) for event in events]
    assert kinds == [
        None,
        None,
        ("carrier_lost", "nic", "eth0"),
        None,
        ("carrier_found", "nic", "eth0"),
        ("carrier_lost", "nic", "eth0"),
    ]


def test_loopback_has_a_carrier_and_a_missing_interface_none():
    """The kernel is asked for the real state of an interface."""
    links = Links()
    assert links.carrier("lo") in {True, False}
    assert links.carrier("no-such-if0") is None
    assert links.carrier("lo") in {True, False}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and iproute2")
def test_carrier_in_a_network_namespace():
    """In a network namespace of its own an agent sees the carrier of its own interface, whatever /sys shows."""
    program = """
import subprocess
from offbeat.collector.addresses import host_addresses
from offbeat.collector.links import Links
links = Links()
run = lambda line: subprocess.run(line.split(), check=True)
run("ip link add obA type veth peer name obB")
run("ip addr add 198.18.7.1/24 dev obA")
run("ip link set obA up")
print(links.carrier("obA"))
run("ip link set obB up")
print(links.carrier("obA"), [(a.interface, a.text) for a in host_addresses()])
run("ip link set obB down")
print(links.carrier("obA"))
run("ip link set obA down")
print(links.carrier("obA"))
"""
    ran = subprocess.run(["unshare", "-n", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "Operation not permitted" in ran.stderr:
        pytest.skip("network namespaces are not permitted here")
    assert ran.stdout.splitlines() == ["False", "True [('obA', '198.18.7.1')]", "False", "False"], ran.stderr


def test_addresses_of_this_host_are_global():
    """Neither loopback nor link-local addresses are among those a host can be reached by."""
    for address in host_addresses():
        assert address.interface != "lo"
        assert not address.text.startswith(("127.", "fe80", "::1"))
