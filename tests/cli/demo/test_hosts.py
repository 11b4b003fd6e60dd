"""Hosts: namespaces where the machine allows them, plain processes with the reason where not."""

import os
import subprocess
import sys

import pytest

from offbeat.cli.demo import hosts
from offbeat.cli.demo.hosts import BedError, NamespaceBed, PlainBed, lay_bed


def namespaces():
    """Return the names of the network namespaces of this process's demo."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(f"offbeat-{os.getpid()}-")]


@pytest.fixture
def bed(tmp_path):
    """Give two hosts in namespaces, or skip with the reason why there can be none."""
    bed = lay_bed(2, tmp_path)
    if isinstance(bed, PlainBed):
        pytest.skip(bed.description)
    yield bed
    bed.close()
    assert namespaces() == []


def test_hosts_reach_each_other_and_nothing_else(bed):
    """A host reaches the other over TCP, and has no route to anywhere outside the bed."""
    first, second = bed.hosts
    listen = (
        "import socket; s = socket.create_server(('198.18.0.11', 7000)); print('up', flush=True);"
        "c, a = s.accept(); print(a[0], flush=True)"
    )
    with subprocess.Popen(second.inside([sys.executable, "-c", listen]), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline().strip() == "up"
        connect = "import socket; socket.create_connection(('198.18.0.11', 7000), 5)"
        subprocess.run(first.inside([sys.executable, "-c", connect]), check=True)
        assert server.stdout.readline().strip() == first.address
    routes = subprocess.run(first.inside(["ip", "route"]), capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in routes.splitlines()] == ["198.18.0.0/24"]


def test_nothing_is_put_into_the_machines_own_namespace(bed):
    """The machine has no link or address of the bed."""
    assert bed.hosts
    shown = subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
    assert "198.18." not in shown


def test_a_bed_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch, bed):
    """When the third host cannot be made, what was made before it is removed."""
    assert bed.hosts
    real, made = hosts.run, []

    def fail_late(argv):
        made.append(argv)
        if "port1" in argv:
            raise BedError("no more")
        return real(argv)

    monkeypatch.setattr(hosts, "run", fail_late)
    monkeypatch.setattr(hosts.os, "getpid", lambda: 99999999)
    with pytest.raises(BedError, match="no more"):
        NamespaceBed(2, tmp_path / "second")
    assert namespaces() == []


def test_without_root_there_are_plain_processes(tmp_path, monkeypatch):
    """A user who is not root gets hosts by name, and is told why."""
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 1000)
    bed = lay_bed(2, tmp_path)
    assert "only root" in bed.description
    assert [host.inside(["true"]) for host in bed.hosts] == [["true"], ["true"]]
    assert len({host.ring_dir for host in bed.hosts}) == 2


def test_without_iproute2_there_are_plain_processes(tmp_path, monkeypatch):
    """A machine without ip or tc gets hosts by name, and says which package is missing."""
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda _: None)
    assert "iproute2" in lay_bed(2, tmp_path).description


def test_a_machine_that_refuses_namespaces_gets_plain_processes(tmp_path, monkeypatch):
    """Root in a container without the right to make namespaces gets hosts by name, and what the machine said."""

    def refuse(argv):
        raise BedError(f"{' '.join(argv)}: Operation not permitted")

    monkeypatch.setattr(hosts.os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda _: "/sbin/ip")
    monkeypatch.setattr(hosts, "run", refuse)
    assert "Operation not permitted" in lay_bed(2, tmp_path).description


def test_a_command_that_fails_says_what_was_tried():
    """The error names the command and what it answered."""
    with pytest.raises(BedError, match=r"python.* -c .*: because"):
        hosts.run([sys.executable, "-c", "import sys; sys.exit('because')"])
    with pytest.raises(BedError, match="no-such-command"):
        hosts.run(["no-such-command"])
