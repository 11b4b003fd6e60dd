"""A service as users start it, for tests of the command line."""

import time

import pytest
from command import Cli, Up
from findings import finding, put_job

from offbeat.model import Evidence
from offbeat.settings import ServiceSettings
from offbeat.store import open_store


@pytest.fixture
def cli():
    """Give the command line without any setting."""
    return Cli()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """Give a running service that knows a job, two hosts and an incident."""
    directory = tmp_path_factory.mktemp("up")
    with open_store(ServiceSettings(data_dir=directory)) as store:
        now = time.time_ns()
        put_job(store, now=now)
        own = Evidence("own_time", "Own time of rank 5 is 142 ms.", {"rank": 5, "before_ms": 93.2, "now_ms": 142.4})
        store.incidents.apply(finding(evidence=(own,)), now)
        for host, ranks in (("node0", range(4)), ("node1", range(4, 8))):
            store.nodes.seen(host, now, 1, ["10.0.0.1"], list(ranks), job="train")
    running = Up(directory)
    yield running
    running.end()


@pytest.fixture
def offbeat(up):
    """Give the command line of who started the service: it finds the token by itself."""
    return Cli(OFFBEAT_URL=up.url, OFFBEAT_DATA_DIR=str(up.directory))
