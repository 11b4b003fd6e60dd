"""Which namespace an agent serves."""

from __future__ import annotations

import pytest

from offbeat.collector.network import served


@pytest.fixture
def machine(tmp_path):
    """A proc tree and a folder of named namespaces; a namespace is a file, told by its inode."""
    for place in ("proc/self/ns", "proc/1/ns", "run"):
        (tmp_path / place).mkdir(parents=True)
    own = tmp_path / "proc/self/ns/net"
    own.touch()
    return tmp_path, own


def test_agent_beside_the_first_process_serves_the_machine(machine):
    """In the machine's own namespace every process is the agent's."""
    root, own = machine
    (root / "proc/1/ns/net").hardlink_to(own)
    (root / "run/blue").hardlink_to(own)
    assert served(root / "proc", root / "run") is None


def test_agent_elsewhere_than_the_first_process_serves_its_own(machine):
    """In another namespace than the first process only its own processes are the agent's."""
    root, own = machine
    (root / "proc/1/ns/net").touch()
    assert served(root / "proc", root / "run") == own.stat().st_ino


def test_name_tells_where_the_first_process_may_not_be_seen(machine):
    """A sandbox that hides the first process does not hide that a namespace was made by name."""
    root, own = machine
    (root / "run/blue").hardlink_to(own)
    assert served(root / "proc", root / "run") == own.stat().st_ino


def test_nothing_known_serves_the_machine(machine):
    """Without either witness, as in a container of its own, all rings are the agent's."""
    root, _ = machine
    assert served(root / "proc", root / "missing") is None
