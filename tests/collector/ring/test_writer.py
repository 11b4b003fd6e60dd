"""What a writer leaves in its ring, as a reader finds it."""

import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from support import wait_until

from offbeat.collector.ring import layout, place
from offbeat.collector.ring.reader import RingReader
from offbeat.collector.ring.writer import RingWriter


def test_operation_is_open_until_it_ends(writer):
    """An operation appears among the open ones when it starts, among the completed ones when it ends, never in both."""
    comm = writer.communicator("0@ab", "0", 1, (4, 5, 9))
    kind = writer.signature(comm, "broadcast", native="broadcast_", dtype="float32", redop="sum", root=4)
    token = writer.start(kind, 512, 7)
    with RingReader(writer.path) as reader:
        before = reader.poll()
        writer.end(token)
        after = reader.poll()
        texts = reader.strings
    (open_one,) = before.open
    assert len(before.completed) == len(after.open) == 0
    (done,) = after.completed
    assert (open_one["id"], open_one["enqueued"]) == (done["id"], done["enqueued"])
    assert (layout.OPS[done["op"]], done["comm"], done["seq"], done["nbytes"]) == ("broadcast", comm, 7, 512)
    assert (done["root"], done["peer"], done["p2p_seq"], done["fn_seq"]) == (4, -1, -1, -1)
    assert [texts[done[word]] for word in ("native", "dtype", "redop")] == ["broadcast_", "float32", "sum"]
    assert (open_one["state"], open_one["ended"]) == (layout.ENQUEUED, 0)
    assert done["state"] == layout.COMPLETED
    assert 0 < done["enqueued"] <= done["ended"] <= time.monotonic_ns()
    (info,) = before.comms
    assert (info.id, info.comm, info.name, info.comm_rank, info.n_ranks, info.members) == (
        comm, "0@ab", "0", 1, 3, (4, 5, 9),
    )  # fmt: skip


def test_end_twice_counts_once(writer):
    """Ending an operation again, even after its slot was taken by another one, changes nothing."""
    kind = writer.signature(0, "send", peer=3)
    token = writer.start(kind, 1, -1, 0)
    writer.end(token)
    other = writer.start(kind, 2, -1, 1)
    writer.end(token)
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert [record["p2p_seq"] for record in poll.completed] == [0]
    assert [record["id"] for record in poll.open] == [other[1]]


def test_cancelled_operation_leaves_nothing(writer):
    """An operation that was never launched is neither open nor completed, and its slot is free again."""
    kind = writer.signature(0, "barrier")
    for _ in range(2 * layout.OPEN_SLOTS):
        writer.cancel(writer.start(kind, 0, 0))
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert (len(poll.open), len(poll.completed), poll.dropped) == (0, 0, 0)


def test_open_operations_outlive_wrap_around(writer):
    """However many operations follow, one that never ended is still there."""
    kind = writer.signature(0, "all_reduce")
    writer.start(kind, 11, 0)
    with RingReader(writer.path) as reader:
        for seq in range(1, 3 * layout.LANE_RECORDS):
            writer.end(writer.start(kind, 1, seq))
        poll = reader.poll()
    assert [record["nbytes"] for record in poll.open] == [11]
    assert poll.overwritten == 3 * layout.LANE_RECORDS - 1 - len(poll.completed)
    assert poll.completed["seq"][-1] == 3 * layout.LANE_RECORDS - 1
    assert poll.torn == 0


def test_full_table_of_open_operations_counts_the_drop(writer):
    """With more operations in flight than slots, the excess is counted and still seen when it ends."""
    kind = writer.signature(0, "all_reduce")
    tokens = [writer.start(kind, 1, seq) for seq in range(layout.OPEN_SLOTS + 3)]
    with RingReader(writer.path) as reader:
        poll = reader.poll()
        assert (len(poll.open), poll.dropped) == (layout.OPEN_SLOTS, 3)
        writer.end(tokens[-1])
        later = reader.poll()
    assert later.completed["seq"].tolist() == [layout.OPEN_SLOTS + 2]
    assert later.dropped == 0


def test_threads_beyond_the_lanes_share_the_last(tmp_path):
    """With more threads than lanes nothing is lost, torn or mixed up."""
    writer = RingWriter(tmp_path, lanes=3)
    kind = writer.signature(0, "all_reduce")
    ready = threading.Barrier(6)

    def work(number):
        ready.wait()
        for seq in range(200):
            writer.end(writer.start(kind, number, seq))
        ready.wait()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    with RingReader(writer.path) as reader:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        poll = reader.poll()
    writer.close()
    assert (poll.torn, poll.overwritten, len(poll.open)) == (0, 0, 0)
    for number in range(6):
        assert sorted(poll.completed["seq"][poll.completed["nbytes"] == number]) == list(range(200))


def test_forked_child_does_not_write_into_its_parents_ring(writer):
    """A child goes on without error, and the parent's ring does not change."""
    kind = writer.signature(0, "all_reduce")
    token = writer.start(kind, 1, 0)
    pid = os.fork()
    if pid == 0:
        try:
            writer.end(token)
            writer.end(writer.start(kind, 1, 1))
            writer.message("note", "from the child")
            writer.exit(9)
        except BaseException:  # noqa: BLE001 - a child that fails must not run the rest of the tests
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    writer.end(writer.start(kind, 1, 5))
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert poll.completed["seq"].tolist() == [5]
    assert poll.open["seq"].tolist() == [0]
    assert (poll.messages, poll.exit) == ([], None)


def test_killed_process_leaves_what_was_in_flight(tmp_path):
    """After SIGKILL the ring says which operations were open and holds no exit mark; the process is seen to be dead."""
    program = (
        "import sys, time; from pathlib import Path; from offbeat.collector.ring.writer import RingWriter\n"
        "w = RingWriter(Path(sys.argv[1]));"
        "k = w.signature(0, 'all_reduce'); w.end(w.start(k, 1, 0)); w.start(k, 2, 1)\n"
        "print(w.path, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    path = place.Path(child.stdout.readline().strip())
    reader = RingReader(path)
    assert reader.alive()
    assert reader.local_pid() == child.pid
    assert reader.header.pid == child.pid
    child.kill()
    wait_until(lambda: not reader.alive())  # a zombie until we wait for it, and dead already
    poll = reader.poll()
    assert poll.open["seq"].tolist() == [1]
    assert poll.completed["seq"].tolist() == [0]
    assert poll.exit is None
    child.wait()
    assert not reader.alive()
    reader.close()


def test_file_is_private_and_complete_before_it_has_its_name(tmp_path):
    """The file has mode 0600 and all its bytes, no temporary file stays, and the directory is made for us alone."""
    directory = tmp_path / "rings"
    writer = RingWriter(directory)
    status = writer.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == layout.plan().file_bytes
    assert status.st_blocks * 512 >= status.st_size  # taken from the file system: no SIGBUS later
    assert list(directory.iterdir()) == [writer.path]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    writer.close()


def test_directory_below_a_shared_one_is_shared(tmp_path):
    """Where everybody may write, other users' trainers can put their rings beside ours, and cannot take ours away."""
    tmp_path.chmod(0o1777)
    place.make_directory(tmp_path / "rings")
    assert stat.S_IMODE((tmp_path / "rings").stat().st_mode) == 0o1777


def test_full_file_system_is_an_error_not_a_crash(tmp_path, monkeypatch):
    """When shared memory is full, creation fails at once and leaves nothing behind."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        RingWriter(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_identity_clock_messages_and_exit(writer):
    """What is said now and then is read back: the newest identity and clock, messages once, the first exit code."""
    with RingReader(writer.path) as reader:
        assert (reader.header.rank, reader.header.world, reader.header.job) == (-1, -1, "")
        for attempt in range(3):
            writer.identify(job="run-7", attempt=attempt, rank=3, world=8, local_rank=1)
        writer.message("exception", "ValueError: line one\nline two " + "ü" * 400, 3)
        writer.message("note", "")
        writer.sample(123, "data", "loader.py:9 fetch", 17)
        before = time.time_ns()
        writer.tick()
        writer.exit(5)
        writer.exit(6)
        poll = reader.poll()
        again = reader.poll()
    assert (poll.header.job, poll.header.attempt, poll.header.rank) == ("run-7", 2, 3)
    assert (poll.header.world, poll.header.local_rank, poll.header.uid) == (8, 1, os.getuid())
    assert (poll.header.pidns, poll.header.netns) == (place.namespace("pid"), place.namespace("net"))
    first, second = poll.messages
    assert (first.kind, first.code, second.text, second.code) == ("exception", 3, "", None)
    assert first.text.startswith("ValueError: line one line two ü")
    assert len(first.text) <= 300
    assert poll.samples == [(123, "data", "loader.py:9 fetch", 17)]
    assert poll.exit.code == 5
    assert 0 <= poll.clock[1] - before < 10**9
    assert again.messages == again.samples == []
    (when,) = poll.unix(poll.completed["ended"][:0] + 0) if len(poll.completed) else (0,)
    assert when == 0


def test_tables_that_are_full_lose_names_only(writer):
    """With no more room for strings or communicators, operations are still recorded, and the loss is counted."""
    members = (*range(0, 3000, 3), 7)  # no progression
    ids = [writer.communicator(f"{n}", "g", 0, members) for n in range(layout.COMMUNICATORS + 2)]
    names = [writer.intern(f"{n:0900d}") for n in range(200)]
    writer.end(writer.start(writer.signature(ids[-1], "other", native=f"{199:0900d}"), 3, 0))
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert ids[-2:] == [0, 0]
    assert 0 in names
    assert poll.comms[0].members == members
    assert poll.comms[-1].members == ()
    assert poll.comms[-1].n_ranks == len(members)
    assert poll.completed["nbytes"].tolist() == [3]
    assert poll.dropped > 0


def test_size_of_a_lane_can_be_set(tmp_path, monkeypatch):
    """OFFBEAT_RING_RECORDS rounds down to a power of two within bounds; nonsense means the default."""
    sizes = {}
    for text in ("300", "1", "99999999", "many"):
        monkeypatch.setenv("OFFBEAT_RING_RECORDS", text)
        writer = RingWriter(tmp_path)
        sizes[text] = writer._plan.areas["lanes"].capacity
        writer.close()
    assert sizes == {"300": 256, "1": 256, "99999999": 32768, "many": layout.LANE_RECORDS}


def test_old_rings_of_dead_processes_are_swept(tmp_path):
    """Creating a ring removes our own dead rings that nobody has come for in an hour, and no others."""
    pidns = place.namespace("pid")
    own = place.this_process()
    old, fresh, living = (tmp_path / name for name in (
        f"{pidns}-{own.pid}-1.ring", f"{pidns}-{own.pid}-2.ring", place.ring_name(own, "nccl"),
    ))  # fmt: skip
    for path in (old, fresh, living):
        path.touch()
    for path in (old, living):
        os.utime(path, (0, 0))
    RingWriter(tmp_path).close()
    assert not old.exists()
    assert fresh.exists()
    assert living.exists()


def test_closed_writer_takes_calls_in_silence(writer):
    """After close every call still works and the file no longer changes."""
    kind = writer.signature(0, "all_reduce")
    token = writer.start(kind, 1, 0)
    writer.close()
    before = writer.path.read_bytes()
    writer.end(token)
    writer.message("note", "x")
    writer.tick()
    writer.close()
    assert writer.path.read_bytes() == before


def test_device_operations_are_marked(writer):
    """What runs on a device is marked from its launch on."""
    writer.start(writer.signature(0, "all_reduce", on_device=True), 1, 0)
    writer.end(writer.start(writer.signature(0, "all_reduce"), 1, 1))
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert (poll.open["traits"].tolist(), poll.completed["traits"].tolist()) == ([layout.ON_DEVICE], [0])
