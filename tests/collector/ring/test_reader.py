"""A reader trusts nothing."""

import os
import random
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offbeat.collector.ring import layout, place
from offbeat.collector.ring.reader import RingError, RingReader, discover, reap
from offbeat.collector.ring.tables import MAX_MEMBERS
from offbeat.collector.ring.writer import RingWriter


@pytest.fixture(scope="module", params=[layout.VERSION, layout.VERSION_TRANSFERS])
def content(request, tmp_path_factory):
    """Return the bytes of a small honest ring; of the later version every other record is a transfer."""
    writer = RingWriter(tmp_path_factory.mktemp("honest"), lanes=2, lane_records=4)
    comm = writer.communicator("a@1", "a", 0, (0, 1, 5))
    for seq in range(6):
        token = writer.start(writer.signature(comm, "all_reduce", native="x"), 8, seq)
        if seq != 3:
            writer.end(token)
    writer.sample(1, "data", "w", 1)
    writer.message("note", "m")
    writer.close()
    data = bytearray(writer.path.read_bytes())
    if request.param == layout.VERSION_TRANSFERS:
        struct.pack_into("<I", data, 8, request.param)
        for name in ("open", "lanes"):
            area = layout.plan(lanes=2, lane_records=4).areas[name]
            for at in range(area.offset, area.offset + 4 * area.record_bytes, 2 * area.record_bytes):
                data[at + 12] = layout.TRANSFER
    return bytes(data)


def read_all(path):
    """Poll a ring twice; only `RingError` may come out."""
    try:
        with RingReader(path) as reader:
            for _ in range(2):
                poll = reader.poll()
                for array in (poll.completed, poll.open):
                    assert all(layout.OPS[op] for op in array["op"])
                    assert all(reader.strings[word] is not None for word in array["native"])
                for array in (poll.moved, poll.moving):
                    assert all(layout.SIDES[side] for side in array["side"])
                    assert (array["state"] <= layout.UNKNOWN).all()
            return True
    except RingError:
        return False


def test_random_bytes_are_refused(tmp_path, content):
    """No random file of a ring's size is taken for one."""
    path = tmp_path / "1-1-1.ring"
    path.write_bytes(random.Random(1).randbytes(len(content)))
    assert not read_all(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 1100),
                st.sampled_from([layout.CURSORS_AT + 64 * i for i in range(4)]),
                st.integers(layout.HEADER_BYTES, layout.HEADER_BYTES + 64),
                st.integers(layout.HEADER_BYTES + layout.STRING_BYTES, layout.HEADER_BYTES + layout.STRING_BYTES + 64),
                st.integers(0, 830_000),
            ),
            st.binary(min_size=1, max_size=12),
        ),
        max_size=6,
    )
)
def test_mutated_rings_raise_nothing_but_ring_error(tmp_path, content, changes):
    """Whatever bytes are changed, reading gives a poll with valid indices or a RingError, in little memory."""
    data = bytearray(content)
    for place_of, new in changes:
        at = min(place_of, len(data) - len(new))
        data[at : at + len(new)] = new
    path = tmp_path / "1-1-1.ring"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read_all(path)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("counter", layout.COUNTER_NAMES)
@pytest.mark.parametrize("value", [1 << 16, 1 << 40, (1 << 64) - 1])
def test_forged_counters(tmp_path, content, counter, value):
    """A counter beyond its table is refused, or only counted where it counts losses."""
    data = bytearray(content)
    struct.pack_into("<Q", data, layout.counter_at(counter), value)
    path = tmp_path / "1-1-1.ring"
    path.write_bytes(data)
    assert read_all(path) == (counter not in {"strings", "communicators"})


def test_members_cannot_be_made_up(tmp_path, content):
    """Communicators with more members than any job has are read without their members."""
    area = layout.plan(lanes=2, lane_records=4).areas["communicators"]
    data = bytearray(content)
    for index in range(layout.COMMUNICATORS):
        at = area.offset + index * area.record_bytes
        layout.COMMUNICATOR.pack_into(data, at, 1, 1, 0, layout.MAX_GROUP, 0, 1, 0, 0, 0, 0)
    struct.pack_into("<Q", data, layout.counter_at("communicators"), layout.COMMUNICATORS)
    path = tmp_path / "1-1-1.ring"
    path.write_bytes(data)
    with RingReader(path) as reader:
        comms = reader.poll().comms
    assert len(comms) == layout.COMMUNICATORS
    assert 0 < sum(len(comm.members) for comm in comms) <= MAX_MEMBERS


def test_torn_record_is_counted_and_left_out(tmp_path, content):
    """A completed record whose head and tail differ, or an open one half written, is not believed."""
    plan = layout.plan(lanes=2, lane_records=4)
    data = bytearray(content)
    struct.pack_into("<Q", data, plan.areas["lanes"].offset + 2 * 128 + 120, 77)
    struct.pack_into("<Q", data, plan.areas["open"].offset + 120, 0)
    path = tmp_path / "1-1-1.ring"
    path.write_bytes(data)
    with RingReader(path) as reader:
        poll = reader.poll()
    assert poll.torn == 2
    assert len(poll.open) == 0
    assert poll.overwritten + len(poll.completed) + len(poll.moved) + 1 == 5


def test_truncated_file_is_an_error_not_a_signal(writer):
    """A ring that is cut short while it is read raises RingError."""
    with RingReader(writer.path) as reader:
        os.truncate(writer.path, 8192)
        with pytest.raises(RingError, match="truncated"):
            reader.poll()


def test_only_regular_files_of_the_right_size_are_opened(tmp_path, content):
    """Links, FIFOs, directories, absent, empty and oversized files are refused, none of them blocks."""
    honest = tmp_path / "1-1-1.ring"
    honest.write_bytes(content)
    (tmp_path / "2-2-2.ring").symlink_to(honest)
    os.mkfifo(tmp_path / "3-3-3.ring")
    (tmp_path / "4-4-4.ring").mkdir()
    (tmp_path / "5-5-5.ring").write_bytes(b"")
    (tmp_path / "6-6-6.ring").write_bytes(content + b"\0")
    with (tmp_path / "7-7-7.ring").open("wb") as file:
        file.truncate(1 << 40)
    for number in range(2, 9):
        with pytest.raises(RingError):
            RingReader(tmp_path / f"{number}-{number}-{number}.ring")
    RingReader(honest).close()


def test_reader_that_polls_while_it_is_written_sees_every_operation_once(tmp_path):
    """Polls between writes give each operation exactly once, in order; what was overwritten is counted."""
    writer = RingWriter(tmp_path, lane_records=16)
    kind = writer.signature(0, "all_reduce")
    seen, lost, seq = [], 0, 0
    dice = random.Random(3)
    with RingReader(writer.path) as reader:
        for _ in range(200):
            for _ in range(dice.randrange(30)):
                writer.end(writer.start(kind, 1, seq))
                seq += 1
            poll = reader.poll()
            seen += poll.completed["seq"].tolist()
            lost += poll.overwritten
            assert poll.torn == 0
    writer.close()
    assert seen == sorted(set(seen))
    assert len(seen) + lost == seq


def test_operation_left_in_both_places_is_completed(writer):
    """A process killed between writing the end and freeing the slot has not left the operation open."""
    kind = writer.signature(0, "all_reduce")
    token = writer.start(kind, 1, 0)
    at = writer._open_at + token[0] * layout.OPERATION_BYTES
    with RingReader(writer.path) as reader:
        writer.end(token)
        writer._words[at // 8] = token[1]
        first, second = reader.poll(), reader.poll()
    assert first.completed["seq"].tolist() == [0]
    assert len(first.open) == len(second.open) == len(second.completed) == 0


def test_identity_torn_by_a_kill_falls_back_to_the_one_before(writer):
    """When the newer copy of the identity is half written, the older one counts."""
    writer.identify(job="a", attempt=1, rank=0, world=2, local_rank=0)
    writer.identify(job="b", attempt=2, rank=0, world=2, local_rank=0)
    newest = layout.IDENTITY_AT + layout.IDENTITY_STRIDE * (writer._identities & 1)
    writer._words[newest // 8 + layout.IDENTITY.size // 8 - 1] = 0
    with RingReader(writer.path) as reader:
        assert reader.header.job == "a"


def test_name_ends_at_its_first_null(writer):
    """What follows a null character is no part of a job's name: with it the service would refuse the batch."""
    writer.identify(job="a\0b", attempt=1, rank=0, world=2, local_rank=0)
    with RingReader(writer.path) as reader:
        assert reader.header.job == "a"


def test_discover_lists_rings_only(tmp_path, writer):
    """Only names of rings are listed, whatever else lies in the directory; an absent directory is empty."""
    (tmp_path / "agent").touch()
    (tmp_path / ".1-2-3.ring.new").touch()
    (tmp_path / "1-2-3-nccl.ring").touch()
    assert discover(tmp_path) == [tmp_path / "1-2-3-nccl.ring", writer.path]
    assert discover(tmp_path / "absent") == []


def test_reap_removes_dead_rings_only(tmp_path, writer, content):
    """The ring of a living process stays; that of a dead one goes; what is no ring stays."""
    dead = tmp_path / "1-1-1.ring"
    data = bytearray(content)
    struct.pack_into("<I", data, 32, 1 << 22)  # a process id beyond the kernel's largest
    dead.write_bytes(data)
    (tmp_path / "2-2-2.ring").write_bytes(b"x" * 5000)
    assert not reap(writer.path)
    assert reap(dead)
    assert not reap(tmp_path / "2-2-2.ring")
    assert not reap(tmp_path / "9-9-9.ring")
    assert [path.name for path in discover(tmp_path)] == ["2-2-2.ring", writer.path.name]


def test_replaced_ring_is_no_longer_alive(tmp_path, writer):
    """When a process makes a new ring of the same name, the reader of the old one is told."""
    with RingReader(writer.path) as old:
        assert old.alive()
        second = RingWriter(tmp_path)
        assert not old.alive()
        with RingReader(second.path) as new:
            assert new.alive()
    second.close()


def test_lock_tells_of_life_where_the_process_cannot_be_seen(tmp_path):
    """A ring whose process ids mean nothing here is alive as long as its writer holds its lock."""
    arrived, leave = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(arrived[0])
            os.close(leave[1])
            writer = RingWriter(tmp_path)
            os.pwrite(writer._file, struct.pack("<Q", 12345), 48)  # as from another process namespace
            os.write(arrived[1], str(writer.path).encode())
            os.read(leave[0], 1)
        finally:
            os._exit(1)
    os.close(arrived[1])
    path = place.Path(os.read(arrived[0], 500).decode())
    with RingReader(path) as reader:
        assert reader.header.pidns == 12345
        assert reader.alive()
        assert reader.local_pid() == pid
        os.write(leave[1], b"x")
        os.waitpid(pid, 0)
        assert not reader.alive()


def test_arrays_can_be_changed_by_their_receiver(writer):
    """What a poll returns belongs to the caller: it is not a read-only view of a buffer."""
    writer.end(writer.start(writer.signature(0, "all_reduce"), 1, 0))
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    poll.completed["seq"] += 1
    assert isinstance(poll.unix(poll.completed["ended"]), np.ndarray)


def test_transfers_are_no_operations(tmp_path):
    """In a file that may hold transfers they are told apart; in one of the first version there are none."""
    writer = RingWriter(tmp_path, source="nccl")
    comm = writer.communicator("a@1", "a", 0, ())
    for seq in range(3):
        writer.end(writer.start(writer.signature(comm, "all_reduce"), 8, seq))
    at = layout.plan().areas["lanes"].offset + layout.OPERATION_BYTES
    writer._buffer[at + 12] = layout.TRANSFER
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert ([int(s) for s in poll.completed["seq"]], len(poll.moved)) == ([0, 1, 2], 0)
    assert layout.OPS[poll.completed["op"][1]] == "other"
    writer._buffer[8] = layout.VERSION_TRANSFERS
    with RingReader(writer.path) as reader:
        poll = reader.poll()
    assert ([int(s) for s in poll.completed["seq"]], [int(s) for s in poll.moved["seq"]]) == ([0, 2], [1])
    writer.close()
