"""Jobs as people start them: by torchrun, and a whole training program without a change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import wait_until

from offbeat.collector.ring.reader import RingReader, discover

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[3]
TRAIN = ROOT.parent / "shared/testbed/train.py"
FEW = Path(__file__).parent / "programs/few.py"


def headers(directory):
    """Return what all rings of a directory say, by attempt and rank."""
    found = {}
    for path in discover(directory):
        with RingReader(path) as reader:
            poll = reader.poll()
            found[poll.header.attempt, poll.header.rank] = poll
    return found


@pytest.mark.parametrize("form", ["-m", "--no-python"])
def test_torchrun(tmp_path, form):
    """Under torchrun, in either form, ranks know their places; a restart is a later attempt of the same job."""
    environment = {**os.environ, "OFFBEAT_RING_DIR": str(tmp_path), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    # A store of its own for each start: in a shared one, ranks read addresses that those of the first start left.
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    program = ["-m", "offbeat.run"] if form == "-m" else ["--no-python", sys.executable, "-m", "offbeat.run"]
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program, FEW, "once"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    polls = headers(tmp_path)
    first, second = sorted({attempt for attempt, _ in polls})
    assert sorted(polls) == [(first, 0), (first, 1), (second, 0), (second, 1)]
    assert len({poll.header.job for poll in polls.values()}) == 1
    assert all((poll.header.world, poll.header.local_rank) == (2, rank) for (_, rank), poll in polls.items())
    assert all(poll.completed["seq"].tolist() == [0, 1, 2] for poll in polls.values())
    assert [m.text for m in polls[first, 0].messages if m.kind == "exception"] == ["RuntimeError: first start"]
    assert polls[second, 0].exit.code == 0


def test_training_program_without_a_change(launch):
    """Each step's gradient buckets and broadcast are seen, alike on both ranks, and those in flight at a kill."""
    if not TRAIN.exists():
        pytest.skip(f"no {TRAIN}")
    options = ["--world", "2", "--out", ".", "--seconds", "100", "--master", "127.0.0.1", "--port", "{port}"]
    options += ["--dim", "128", "--bucket-mb", "0.3", "--rank", "{rank}"]
    job = launch(TRAIN, 2, *options, command=(sys.executable, "-m", "offbeat.run"))
    readers = [wait_until(lambda rank=rank: job.reader(rank), 100) for rank in (0, 1)]
    polls = [[], []]

    def steps():
        for rank, reader in enumerate(readers):
            polls[rank].append(reader.poll())
        return sum(len(poll.completed) for poll in polls[0]) > 200

    wait_until(steps, 100)
    job.processes[1].kill()
    wait_until(lambda: not readers[1].alive())
    job.processes[0].wait(60)
    for rank, reader in enumerate(readers):
        polls[rank].append(reader.poll())
    assert polls[1][-1].exit is None
    assert polls[0][-1].exit.code == 1
    assert any("by peer" in m.text for poll in polls[0] for m in poll.messages)

    seen = []
    for rank in (0, 1):
        assert sum(poll.torn + poll.overwritten for poll in polls[rank]) == 0
        operations = [o for poll in polls[rank] for o in poll.completed] + list(polls[rank][-1].open)
        seen.append({int(o["seq"]): (int(o["op"]), int(o["nbytes"])) for o in operations})
        assert sorted(seen[rank]) == list(range(len(seen[rank])))
    both = min(len(sequence) for sequence in seen)
    assert both > 200
    assert all(seen[0][seq] == seen[1][seq] for seq in range(both))
    texts = readers[0].strings
    last = [texts[o["native"]] for poll in polls[0] for o in poll.completed[np_order(poll.completed)]][-60:]
    assert 42 <= last.count("allreduce") <= 48  # three buckets for each broadcast
    assert {int(o["comm"]) for o in polls[1][-1].open} <= {1}


def np_order(operations):
    """Return the order in which operations were launched."""
    return operations["id"].argsort()
