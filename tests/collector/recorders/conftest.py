"""Real jobs: several processes on loopback, their rings read when they have ended."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import Job

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Return a function that starts a job: `launch(program, world, *arguments, **environment)`."""
    jobs = []

    def start(program, world, *arguments, command=(sys.executable,), recorded=True, **environment):
        directory = tmp_path_factory.mktemp(Path(program).stem)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        rings = directory / "rings"
        processes = []
        for rank in range(world):
            env = {
                **os.environ,
                "OFFBEAT_RING_DIR": str(rings),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "TORCH_CPP_LOG_LEVEL": "ERROR",
                "RECORDED": str(int(recorded)),
                **environment,
            }
            log = (directory / f"{rank}.log").open("w")
            whole = [*command, str(PROGRAMS / program), *(text.format(rank=rank, port=port) for text in arguments)]
            processes.append(subprocess.Popen(whole, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=directory))
        job = Job(directory, rings, processes)
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.close()


@pytest.fixture
def light(tmp_path):
    """Return an environment in which torch cannot be imported, for programs that need the recorder alone."""
    (tmp_path / "without/torch").mkdir(parents=True)
    (tmp_path / "without/torch/__init__.py").write_text("raise ImportError('not here')\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "without"), "OFFBEAT_RING_DIR": str(tmp_path / "rings")}
