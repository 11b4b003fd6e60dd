"""What a real job of two ranks leaves in its rings."""

import socket
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SAME_ON_BOTH = [
    ("allreduce", "all_reduce", 24, "float32", -1),
    ("allreduce", "all_reduce", 48, "float64", -1),
    ("broadcast", "broadcast", 24, "float32", 1),
    ("reduce", "reduce", 24, "float32", 1),
    ("allgather", "all_gather", 24, "float32", -1),
    ("all_gather_single", "all_gather", 24, "float32", -1),
    ("gather", "gather", 24, "float32", 0),
    ("scatter", "scatter", 24, "float32", 1),
    ("reduce_scatter", "reduce_scatter", 48, "float32", -1),
    ("reduce_scatter_single", "reduce_scatter", 48, "float32", -1),
    ("all_to_all_single", "all_to_all", 24, "float32", -1),
    ("barrier", "barrier", 0, "", -1),
    ("monitored_barrier", "barrier", 0, "", -1),
    ("allreduce_coalesced", "all_reduce", 20, "float32", -1),
]


@pytest.fixture(scope="module", params=["before", "after"])
def job(request, launch):
    """Run every operation once, recorded from before or after the process group is made."""
    return launch("collectives.py", 2, RECORDED=request.param, SECOND_PORT=str(free_port())).succeed()


def free_port():
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_operation_is_seen(job):
    """Each operation appears once, in order, completed, with its word, payload, element type, root, and peer."""
    for rank in (0, 1):
        seen = job.recorded(rank)
        assert seen.notes == []
        assert (seen.open, seen.poll.torn, seen.poll.overwritten, seen.poll.dropped) == ([], 0, 0, 0)
        world = next(info for info in seen.comms.values() if info.name == "0")
        assert (world.members, world.comm_rank, world.n_ranks) == ((0, 1), rank, 2)
        collectives = [o for o in seen.completed if o["comm"] == world.comm and o["seq"] >= 0]
        assert [(o["native"], o["op"], o["nbytes"], o["dtype"], o["root"]) for o in collectives[:14]] == SAME_ON_BOTH
        assert all(o["state"] == 2 and o["flags"] == 0 for o in collectives)
        assert all(0 < o["enqueued"] <= o["ended"] for o in seen.completed)

        p2p = [(o["op"], o["peer"], o["p2p_seq"], o["state"]) for o in seen.completed if o["seq"] < 0]
        assert sorted(p2p) == [
            *(("recv", 1 - rank, number, 2) for number in range(3)),
            *(("send", 1 - rank, number, 2) for number in range(2)),
            ("send", 1 - rank, 2, 3),  # never waited for: when it ended is not known
        ]
        pair = next(info for info in seen.comms.values() if info.name == "1")
        assert pair.members == (0, 1)
        assert pair.comm == world.comm.replace("0@", "1@")
    assert [info.members for info in seen.comms.values() if info.n_ranks == 1] == [(1,)]


def test_ranks_agree_on_names_numbers_and_attempt(job):
    """Both ranks count alike, a second process group is a new attempt; samples, phases and the exit code are there."""
    first, second = job.recorded(0), job.recorded(1)
    shared = first.sequence()[0][0]
    assert first.sequence(shared) == second.sequence(shared)
    numbers = [seq for _, seq, _, _ in first.sequence(shared)]
    assert numbers == [*range(len(numbers) - 1), 0]
    assert time.time() - 600 < first.header.attempt == second.header.attempt
    before, after = (info.attempt for info in first.comms.values() if info.comm == shared)
    assert before < after == first.header.attempt
    assert [(s.header.rank, s.header.world, s.header.local_rank) for s in (first, second)] == [(0, 2, 0), (1, 2, 1)]
    assert first.header.job == second.header.job
    assert first.header.job.startswith("torch-127.0.0.1-")
    assert {sample.kind for sample in first.poll.samples} <= {"collective", "other", "data"}
    assert any("collectives.py:" in sample.where for sample in first.poll.samples)
    assert [m.kind for m in first.poll.messages if m.text == "eval"] == ["phase_begin", "phase_end"]
    assert first.poll.exit.code == 0
