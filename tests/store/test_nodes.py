"""Nodes as their agents describe them."""

from offbeat.store import NodeRow


def test_a_heartbeat_describes_the_host(store):
    """The last heartbeat counts; the first sighting stays."""
    assert store.nodes.get("node1") is None
    store.nodes.seen("node1", 10, 1, ["10.0.0.1"], [1, 0], job="train")
    store.nodes.seen("node1", 20, 1, [], [0], job="train")
    assert store.nodes.get("node1") == NodeRow("node1", 10, 20, 1, ("10.0.0.1",), {"train": (0,)})


def test_several_jobs_on_a_host_are_kept_apart(store):
    """Each job's ranks are its own; a job without ranks has left, and a new agent starts afresh."""
    store.nodes.seen("node1", 10, 1, (), [0, 1], job="a")
    store.nodes.seen("node1", 10, 1, (), [4], job="b")
    assert store.nodes.get("node1").jobs == {"a": (0, 1), "b": (4,)}
    store.nodes.seen("node1", 11, 1, (), [], job="a")
    assert store.nodes.get("node1").jobs == {"b": (4,)}
    store.nodes.seen("node1", 12, 2)
    assert store.nodes.get("node1").jobs == {}


def test_an_old_heartbeat_out_of_a_spool_changes_only_the_first_sighting(store):
    """What is newer is not overwritten by what comes late."""
    store.nodes.seen("node1", 20, 2, ["10.0.0.2"], [1], job="train")
    store.nodes.seen("node1", 5, 1, ["10.0.0.1"], [7], job="old")
    assert store.nodes.get("node1") == NodeRow("node1", 5, 20, 2, ("10.0.0.2",), {"train": (1,)})


def test_hosts_silent_for_long_are_forgotten(store):
    """A host that went is not listed for ever."""
    for host, at in (("old", 1), ("new", 5)):
        store.nodes.seen(host, at, 1)
    store.nodes.expire(5)
    assert [row.host for row in store.nodes.list()] == ["new"]


def test_nodes_are_listed_by_name(store):
    """All hosts ever seen, in order."""
    for host in ("b", "a"):
        store.nodes.seen(host, 1, 1)
    assert [row.host for row in store.nodes.list()] == ["a", "b"]
