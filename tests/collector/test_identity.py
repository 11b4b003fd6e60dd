"""Who a process is, by its variables."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector.identity import Identity, identity, variables


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "run 1", "SLURM_JOB_ID": "7"},
            Identity("run-1", 0, 5, 8, 1),
        ),
        (
            {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77"},
            Identity("77", 0, 3, 4, 0),
        ),
        ({"RANK": "0", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}, Identity("7", 2, 0, -1, -1)),
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "9"}, Identity("9", 0, 0, -1, -1)),
        ({"RANK": "0", "OFFBEAT_JOB": "mine", "SLURM_JOB_ID": "9"}, Identity("mine", 0, 0, -1, -1)),
        ({"RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "29"}, Identity("torch-h-29", 0, 0, -1, -1)),
        ({"HOME": "/root"}, None),
        ({"RANK": "x"}, None),
    ],
)
def test_launchers(environment, known):
    """Each launcher's variables tell job, attempt and rank, as the recorder would name them."""
    assert identity(environment) == known


def test_a_real_process(process):
    """The variables of a real process are those it was started with."""
    started = process("input()", env={"RANK": "5", "PATH": os.environ["PATH"]})
    assert variables(started.pid, Path("/proc"))["RANK"] == "5"
    with pytest.raises(OSError):
        variables(1 << 30, Path("/proc"))


@given(st.binary(max_size=200))
def test_any_variables(tmp_path_factory, data):
    """Whatever stands in a process's variables, they are read without fail."""
    proc = tmp_path_factory.mktemp("proc")
    (proc / "7").mkdir()
    (proc / "7" / "environ").write_bytes(b"RANK=1\0" + data)
    found = identity(variables(7, proc))
    assert found is None or found.rank >= 0
