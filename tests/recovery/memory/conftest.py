"""Keepers for tests, ended after each."""

import shutil
import tempfile
from pathlib import Path

import pytest
from keeper_processes import KeeperProcess


@pytest.fixture
def memory():
    """Give a directory on a tmpfs with a short path, as sockets want it."""
    found = Path(tempfile.mkdtemp(prefix="ob-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield found
    shutil.rmtree(found)


@pytest.fixture
def keepers(memory):
    """Give a function that starts the keeper of a host."""
    running = []

    def start(host="a", **settings):
        keeper = KeeperProcess(memory / host, host, **settings)
        running.append(keeper)
        return keeper

    yield start
    for keeper in running:
        keeper.stop()
