"""A trainer that is killed at any moment goes on from its keeper's memory, as if nothing had been."""

import os
import signal
import subprocess
import sys

import pytest
from keeper_processes import digests, kill_after, output, ranks, started, trainer
from support import wait_until

pytestmark = pytest.mark.timeout(300)
STEPS = 14
PATIENCE = 100
"""Seconds; processes of a busy machine take their time to start."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the digests of a run that nobody interrupts."""
    return digests(output(trainer(tmp_path_factory.mktemp("none"), STEPS, SNAPSHOTS=0)))


def test_a_killed_trainer_resumes_bit_for_bit(keepers, uninterrupted):
    """SIGKILL in the middle of training: the next start resumes at the last step or the one before, and ends equal."""
    keeper = keepers()
    reference = uninterrupted
    steps = 0
    for last in (3, 8):
        lines = kill_after(trainer(keeper.directory, STEPS, 0.05), f" step {last} ", 0.02)
        steps, found = max(digests(lines)), digests(lines)
        assert started(lines) <= last
        assert all(reference[step] == digest for step, digest in found.items())
    lines = output(trainer(keeper.directory, STEPS))
    assert steps - 1 <= started(lines) <= steps + 2  # a step is sealed before it is printed
    assert digests(lines) == {step: reference[step] for step in range(started(lines), STEPS)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("wrap", ["ddp", "fsdp"])
def test_parallel_jobs_resume(keepers, wrap):
    """DDP and FSDP2 with two ranks: one is killed, both resume from the same step, and end as if nothing had been."""
    keeper = keepers()
    first = ranks([keeper.directory] * 2, 100_000, 0.05, WRAP=wrap, quiet=True)
    wait_until(lambda: keeper.committed("job") >= 4, 2 * PATIENCE)
    first[1].send_signal(signal.SIGKILL)
    first[0].kill()
    for process in first:
        process.communicate(timeout=20)
    steps = keeper.committed("job") + 6
    second = [output(process) for process in ranks([keeper.directory] * 2, steps, WRAP=wrap)]
    begins = {started(lines) for lines in second}
    assert len(begins) == 1
    assert begins.pop() >= 5
    whole = [digests(output(process)) for process in ranks([keeper.directory] * 2, steps, SNAPSHOTS=0, WRAP=wrap)]
    for rank, lines in enumerate(second):
        assert digests(lines) == {step: whole[rank][step] for step in range(started(lines), steps)}


def test_the_keeper_may_be_killed_too(keepers):
    """While training goes on the keeper is killed and started again; nothing that was sealed is lost."""
    keeper = keepers()
    process = trainer(keeper.directory, 100_000, 0.05, quiet=True)
    wait_until(lambda: keeper.committed("job") >= 2, PATIENCE)
    keeper.kill()
    before = sorted(p.name for p in (keeper.directory / "job").glob("*.slot"))
    keeper.start()
    committed = keeper.held("job")["committed"][1]
    assert committed >= 2
    assert sorted(p.name for p in (keeper.directory / "job").glob("*.slot")) == before
    wait_until(lambda: keeper.committed("job") > committed, PATIENCE)  # the trainer found the new keeper
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    last = keeper.committed("job")
    lines = output(trainer(keeper.directory, last + 5))
    assert last < started(lines) <= last + 3
    whole = digests(output(trainer(keeper.directory, last + 5, SNAPSHOTS=0)))
    assert digests(lines) == {step: whole[step] for step in range(started(lines), last + 5)}


def test_a_stopped_keeper_leaves_everything(keepers):
    """SIGTERM ends the keeper at once with code 0, and the next one serves what it held."""
    keeper = keepers()
    output(trainer(keeper.directory, 3))
    wait_until(lambda: keeper.committed("job") == 2, PATIENCE)
    assert keeper.kill(signal.SIGTERM) == 0
    keeper.start()
    assert started(output(trainer(keeper.directory, 5))) == 3


def test_no_keeper_is_no_obstacle(memory, uninterrupted):
    """Without a keeper the job trains as ever, says so once, and starts at 0."""
    process = trainer(memory / "nobody", STEPS)
    lines = output(process)
    assert started(lines) == 0
    assert digests(lines) == uninterrupted


def test_a_stopped_keeper_does_not_stop_training(keepers):
    """A keeper that hangs (SIGSTOP) costs snapshots, not steps; when it goes on, so do snapshots."""
    keeper = keepers()
    process = trainer(keeper.directory, 100_000, 0.02)
    wait_until(lambda: keeper.committed("job") >= 1, PATIENCE)
    keeper.process.send_signal(signal.SIGSTOP)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if len(seen) > 100:
            break
    keeper.process.send_signal(signal.SIGCONT)
    committed = keeper.committed("job")
    wait_until(lambda: keeper.committed("job") > committed, PATIENCE)
    process.kill()
    process.communicate(timeout=20)


def test_another_program_is_refused_by_name(keepers):
    """A state that does not fit raises and names the entry; the job does not begin from scratch without a word."""
    keeper = keepers()
    output(trainer(keeper.directory, 3))
    code = "import numpy as np, offbeat\noffbeat.Snapshotter({'w': np.ones((24, 9)), 'rate': 1.0}).restore()"
    environment = os.environ | {"OFFBEAT_JOB": "job", "OFFBEAT_KEEPER_DIR": str(keeper.directory)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RestoreError: state: saved were moments, here are" in done.stderr


def test_the_command_shows_and_forgets(keepers):
    """`offbeat epochs` lists what is here; `--forget` gives the memory back, `--dry-run` does not."""
    keeper = keepers()
    output(trainer(keeper.directory, 3))

    def command(*arguments):
        environment = os.environ | {"OFFBEAT_KEEPER_DIR": str(keeper.directory)}
        call = [sys.executable, "-m", "offbeat.cli.main", "epochs", *arguments]
        return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)

    assert "on this host, committed" in command().stdout
    assert '"step": 2' in command("job", "--output", "json").stdout
    assert "would be given back" in command("--forget", "job", "--dry-run").stdout
    assert keeper.held("job")
    assert "given back" in command("--forget", "job").stdout
    assert "No snapshot is here." in command().stdout
    assert command("job").returncode == 3
