"""What tests of the agent share: a service, and processes that write rings."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from ring_process import RingProcess
from support import wait_until
from telemetry_service import TelemetryService

# How long one example takes says how busy the machine is, nothing else.
settings.register_profile("agent", deadline=None)
settings.load_profile("agent")


@pytest.fixture
def service():
    """Return a service that takes telemetry."""
    found = TelemetryService()
    yield found
    found.close()


@pytest.fixture
def ring_dir(tmp_path):
    """Return a ring directory of this test alone."""
    directory = tmp_path / "rings"
    directory.mkdir()
    return directory


@pytest.fixture
def trainer(ring_dir):
    """Return a function that starts a process with a ring; all end with the test."""
    started = []

    def start(**identity):
        process = RingProcess(ring_dir, **identity)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()


@pytest.fixture
def process():
    """Return a function that starts a Python program and returns it once it runs; all end with the test."""
    started = []

    def start(code, **options):
        found = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        started.append(found)
        environ = Path(f"/proc/{found.pid}/environ")
        # Popen returns when the old program is gone, a moment before the kernel shows what the new one was given.
        wait_until(lambda: found.poll() is not None or environ.read_bytes())
        return found

    yield start
    for found in started:
        found.kill()
        found.stdin.close()
        found.stdout.close()
        found.wait()
