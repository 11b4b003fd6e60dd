"""The agent's own /metrics: every name of the table, with what the agent has counted."""

import socket

import httpx2
import pytest
from support import wait_until

from offbeat.collector.agent import Agent, AgentError
from offbeat.metrics import TABLE
from offbeat.settings import AgentSettings

PREFIX = "offbeat_agent_"
MINE = {name for name in TABLE if name.startswith(PREFIX)}


@pytest.fixture
def made(tmp_path, service):
    """Return a function that makes an agent on this test's directories; all are closed at the end."""
    found = []

    def make(**more):
        options = {"host": "node1", "url": service.url, "ring_dir": tmp_path / "rings", "spool_dir": tmp_path / "spool"}
        found.append(Agent(AgentSettings(**options | more)))
        return found[-1]

    yield make
    for agent in found:
        agent.close()


def values(text):
    """Return the values of a scrape by name and labels."""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_what_was_counted_is_shown(made):
    """All metrics of the table are there, with the agent's memory and processor time beside them."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
    agent = made(metrics=address)
    agent.readers.collection.errors["tcp"] += 2
    agent.outbox.append(b"x" * 100)
    agent.uplink.start()
    url = f"http://{address}/metrics"
    shown = wait_until(
        lambda: (v := values(httpx2.get(url, trust_env=False).text))[f"{PREFIX}spool_batches"] == 0 and v
    )
    assert {name.partition("{")[0] for name in shown if name.startswith(PREFIX)} == MINE
    assert shown[f'{PREFIX}source_errors_total{{source="tcp"}}'] == 2
    assert shown[f"{PREFIX}lost_batches_total"] == 1  # the service refuses what is no batch
    assert shown["process_resident_memory_bytes"] > 0
    agent.uplink.stop(1)


def test_nothing_listens_unless_asked(made):
    """Without an address there is no server."""
    assert made()._metrics is None


@pytest.mark.parametrize("address", ["localhost", "0.0.0.0", "example.org:9810"])
def test_an_address_that_cannot_be_used(made, address):
    """The agent does not start, and names the setting."""
    with pytest.raises(AgentError, match="OFFBEAT_METRICS"):
        made(metrics=address)
