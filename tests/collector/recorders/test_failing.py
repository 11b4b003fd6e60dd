"""Jobs that fail in the midst of communication end as they would without the recorder, and leave what was in flight."""

import signal

import pytest
from support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    ("way", "codes", "said"),
    [("exit", (3, 0), None), ("unwaited", (0, 0), None), ("backward", (1, 1), "ValueError: in backward")],
)
def test_exit_code_is_the_programs_own(launch, way, codes, said):
    """With operations in flight at the end, no rank aborts: its exit code is what the program asked for."""
    job = launch("failing.py", 2, way, RECORDED="1")
    assert tuple(job.wait()) == codes
    seen = job.recorded(0)
    assert seen.poll.exit.code == codes[0]
    assert [m.text for m in seen.poll.messages if m.kind == "exception"] == ([said] if said else [])


def test_killed_rank(launch):
    """The rank that was killed leaves no mark, its peer the error, and the operation that failed is marked so."""
    job = launch("failing.py", 2, "killed", RECORDED="1")
    assert job.wait() == [1, -signal.SIGKILL]
    peer, killed = job.recorded(0), job.recorded(1)
    assert killed.poll.exit is None
    assert peer.poll.exit.code == 1
    assert [o["flags"] for o in peer.completed][-1] == 1
    # Which of them it is depends on whether it was reading or writing when the other end went.
    errors = ("closed by peer", "reset by peer", "Broken pipe")
    assert any(e in m.text for m in peer.poll.messages if m.kind == "exception" for e in errors)


def test_operations_in_flight_are_readable_during_the_hang_and_after_a_kill(launch):
    """While a peer does not come, and when the waiting rank was killed, its open operations say what it waits for."""
    job = launch("failing.py", 2, "stuck", RECORDED="1")
    reader = wait_until(lambda: job.reader(0), 120)
    wait_until(lambda: len(reader.poll().open) == 3, 120)
    job.processes[0].kill()
    wait_until(lambda: not reader.alive())
    poll = reader.poll()
    assert sorted(poll.open["seq"].tolist()) == [2, 3, 4]
    assert sorted(reader.strings[o["native"]] for o in poll.open) == ["allreduce", "allreduce", "broadcast"]
    assert poll.exit is None
