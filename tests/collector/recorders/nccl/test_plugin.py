"""What the plugin makes of NCCL's calls, in each version of the interface."""

import ctypes
import os
import signal
from pathlib import Path

import pytest
from support import wait_until

from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import RingReader, discover, reap

VERSIONS = (4, 5, 6, 7)
ALL, OPERATIONS = 1 | 2 | 4 | 8 | 16 | 64 | 4096, 1 | 2 | 4 | 4096


def rows(array, *names):
    """Return these fields of records as tuples."""
    return [tuple(int(record[name]) for name in names) for record in array]


@pytest.mark.parametrize("version", VERSIONS)
def test_operations(play, version):
    """Each operation comes once, ended, with what NCCL said of it, its number, and its time on the GPU."""
    poll, strings = (played := play(version, "one")).ready().read()
    assert played.said["mask"] == ALL
    assert [(c.comm, c.name, c.comm_rank, c.n_ranks) for c in poll.comms] == [
        ("0xfeedfacecafe", "tensor", 3, 8),
        ("0xfeedfacecaff", "", 1, 4),
    ]
    assert (poll.header.source, poll.header.rank, poll.header.world) == ("nccl", 3, 8)
    done = poll.completed[poll.completed["seq"].argsort(kind="stable")]
    collectives = [r for r in done if r["comm"] == 1 and r["seq"] >= 0]
    words = [tuple(strings[r[word]] for word in ("native", "dtype", "algo", "proto")) for r in collectives]
    seen = [
        (layout.OPS[r["op"]], int(r["seq"]), int(r["fn_seq"]), int(r["root"]), int(r["nbytes"])) for r in collectives
    ]
    # NCCL counts functions apart: eight of "AllGatherOfTomorrow" (0 to 7) have been launched, seven of them unseen.
    expected = [
        (("AllReduce", "ncclBfloat16", "RING", "SIMPLE"), ("all_reduce", 0, 0, -1, 2 << 20)),
        (("AllReduce", "ncclBfloat16", "RING", "SIMPLE"), ("all_reduce", 1, 1, -1, 2 << 20)),
        (("Broadcast", "ncclInt8", "TREE", "LL"), ("broadcast", 2, 0, 5, 100)),
        (("ReduceScatter", "ncclFloat32", "RING", "LL128"), ("reduce_scatter", 3, 0, -1, 100 * 4 * 8)),
        (("AllGatherOfTomorrow", "ncclFloat128", "SPIRAL", "LL9"), ("other", 11, 7, -1, 10)),
    ]
    if version >= 6:
        expected.append((("AllGather", "ncclFloat32", "", ""), ("all_gather", 12, -1, -1, 256)))
    assert list(zip(words, seen, strict=True)) == expected
    pairwise = sorted(
        (layout.OPS[r["op"]], int(r["peer"]), int(r["p2p_seq"]), int(r["nbytes"])) for r in done if r["seq"] < 0
    )
    assert pairwise == [("recv", 2, 0, 256), ("send", 4, 0, 256), ("send", 4, 1, 256)]
    assert rows(done[done["comm"] == 2], "op", "seq") == [(0, 0)]
    assert set(done["state"]) == {layout.COMPLETED}
    assert set(done["traits"]) == {layout.COMM_RANKS}
    assert set(done["clock"]) == {1}
    on_gpu = done[done["channels"] > 0]
    assert (on_gpu["ended"] - on_gpu["started"] >= 200).all()  # kernels end 200 ns after they begin, by the GPU
    assert (done["started"] >= done["enqueued"]).all()
    assert len(set(done["group"][done["channels"] > 0])) == len(on_gpu)
    assert (len(poll.open), len(poll.moving), poll.torn, poll.overwritten, poll.dropped) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_transfers(play, version):
    """The steps of each channel and peer are summed up: what was sent, waits and wire, and whom it went to."""
    poll, _ = play(version, "one").ready().read()
    first = poll.moved[(poll.moved["comm"] == 1) & (poll.moved["seq"] == 1)]
    both = [(0, 4, 0), (1, 2, 0), (0, 4, 1), (1, 2, 1)]
    assert set(rows(first, "side", "peer", "channel")) >= set(both)
    for record in first:
        assert rows([record], "steps", "posted", "done", "nbytes", "state") == [(2, 2, 2, 8192, layout.COMPLETED)]
        assert record["started"] < record["progress"]
        spent = sum(int(record[name]) for name in ("gpu_wait", "credit_wait", "wire", "flush"))
        assert 0 < spent <= record["progress"] - record["started"]
        assert 0 < record["wire_max"] <= record["wire"]
        assert (record["ready"], record["flush"] > 0, record["credit_wait"] > 0) == (
            (2, False, True) if record["side"] == 0 else (0, True, False)
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_hang_and_kill(play, version):
    """What is in flight stands in the ring, also after a kill: begun or not, and which step was posted and not done."""
    played = play(version, "hang").ready()
    played.process.send_signal(signal.SIGKILL)
    played.process.wait()
    (path,) = discover(played.directory)
    with RingReader(path) as reader:
        assert not reader.alive()
        poll = reader.poll()
        again = reader.poll()
    assert sorted(rows(poll.completed, "seq")) == [(0,), (1,), (2,)]
    assert sorted(rows(poll.open, "seq", "state", "clock")) == [(3, layout.STARTED, 1), (4, layout.ENQUEUED, 1)]
    names = ("seq", "peer", "channel", "side", "steps", "ready", "posted", "done", "nbytes", "state")
    assert rows(poll.moving, *names) == [(3, 3, 1, 0, 9, 2, 2, 1, 300, layout.STARTED)]
    assert rows(again.open, "id") == rows(poll.open, "id")
    assert (poll.torn, len(again.completed), len(again.moved)) == (0, 0, 0)
    assert reap(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_hundreds_of_communicators(play, version):
    """An application and a proxy thread for each of 200 communicators: everything is recorded, whole, and once."""
    comms, each = 200, 40
    poll, _ = play(version, "threads", comms, each, OFFBEAT_RING_RECORDS="32768").ready().read()
    assert poll.overwritten == poll.torn == poll.dropped == len(poll.open) == len(poll.moving) == 0
    assert len(poll.comms) == comms
    for records in (poll.completed, poll.moved):
        assert sorted(rows(records, "comm", "seq")) == [(c + 1, s) for c in range(comms) for s in range(each)]
    assert set(poll.completed["state"]) == {layout.COMPLETED}
    assert set(rows(poll.moved, "peer", "posted", "done", "nbytes")) == {(1, 1, 1, 4096)}
    assert len({*poll.completed["id"], *poll.moved["id"]}) == 2 * comms * each


@pytest.mark.parametrize("version", VERSIONS)
def test_hostile_calls(play, version):
    """Stale, foreign and absurd calls change nothing; what never ends is given up, and places come back."""
    played = play(version, "hostile", OFFBEAT_RING_RECORDS="32768").ready()
    poll, _ = played.read()
    assert played.finish() == (0, "")
    assert (len(poll.open), len(poll.moving), poll.torn) == (0, 0, 0)
    assert len(poll.comms) == layout.COMMUNICATORS
    kept = poll.completed[poll.completed["seq"] < 50_000]
    assert (kept["nbytes"] >= 0).all()
    assert (kept["ended"] >= kept["enqueued"]).all()
    finished = poll.completed[poll.completed["state"] == layout.COMPLETED]
    given_up = poll.completed[poll.completed["state"] == layout.UNKNOWN]
    assert len(finished) > 30_000
    assert len(given_up) > 5000
    assert set(given_up["started"]) == {0}  # nothing is made up of when they ran


@pytest.mark.parametrize("version", VERSIONS)
def test_events_call_nobody(play, program, version):
    """Once a communicator is there, no event makes a system call, allocates memory or takes a lock."""
    counting = program("driver", "-DCOUNT", "-rdynamic")
    played = play(version, "quiet", 3000, driver=counting, OFFBEAT_RING_RECORDS="32768")
    try:
        played.ready()
    except AssertionError:
        if "clock" not in played.said:
            pytest.skip("this machine has no seccomp, or reads its clock by system calls")
        raise
    assert (played.said["allocations"], played.said["locks"]) == (0, 0)
    poll, _ = played.read()
    assert len(poll.completed) == 3001
    assert (len(poll.open), poll.dropped, poll.overwritten) == (0, 0, 0)


def test_reload(play):
    """After its last communicator the library is unloaded and loaded again: one ring goes on."""
    poll, _ = play(7, "reload", 30).ready().read()
    assert len(poll.comms) == len(poll.completed) == 60
    assert (len(poll.open), poll.torn, poll.dropped) == (0, 0, 0)


def test_fork(play):
    """A forked child writes nothing into its parent's ring, and one that begins anew has a ring of its own."""
    played = play(6, "fork")
    parent = played.process.pid
    silent, anew = (played.until("child") for _ in range(2))
    expected = {parent: (["0xf0"], [(0,), (1,)]), anew: (["0xf1"], [(0,)])}

    def found():
        polls = {}
        for path in discover(played.directory):
            with RingReader(path) as reader:
                poll = reader.poll()
                polls[reader.header.pid] = ([c.comm for c in poll.comms], sorted(rows(poll.completed, "seq")))
        return polls

    try:
        wait_until(lambda: found() == expected)
        assert silent not in found()
    finally:
        for child in (silent, anew):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("asked", "mask"),
    [("", ALL), ("operations", OPERATIONS), ("kernels", OPERATIONS | 64), ("odd,transfers", ALL)],
)
def test_mask(play, asked, mask):
    """OFFBEAT_NCCL_EVENTS says what is recorded; what a word cannot do without comes with it."""
    assert play(5, "one", OFFBEAT_NCCL_EVENTS=asked).ready().said["mask"] == mask


def test_launches_alone(play):
    """Where no kernels are asked for, nothing tells when an operation ends: it is over once launched, and marked."""
    poll, _ = play(6, "one", OFFBEAT_NCCL_EVENTS="operations").ready().read()
    assert len(poll.open) == 0
    launched = poll.completed[poll.completed["traits"] == layout.COMM_RANKS | layout.ON_DEVICE]
    assert len(launched) == 9
    assert set(launched["state"]) == {layout.UNKNOWN}
    (by_copy_engine,) = poll.completed[poll.completed["traits"] == layout.COMM_RANKS]
    assert by_copy_engine["state"] == layout.COMPLETED


def test_fewer_kernels_than_said(play):
    """Where operations keep having fewer kernel channels than NCCL said, that number is waited for no more."""
    poll, _ = play(7, "fewer", 50).ready().read()
    assert len(poll.open) == 0
    states = poll.completed[poll.completed["seq"].argsort()]["state"].tolist()
    assert len(states) == 50
    assert set(states[10:]) == {layout.COMPLETED}
    assert layout.UNKNOWN in states[:10]


def test_nothing_is_wanted(play):
    """With OFFBEAT_NCCL_EVENTS=none no ring is made, and no event is asked for."""
    played = play(5, "one", OFFBEAT_NCCL_EVENTS="none").ready()
    assert played.said["mask"] == 0
    assert discover(played.directory) == []


def test_no_place_for_a_ring(play, tmp_path):
    """Without a ring directory the job goes on and nothing is recorded."""
    (tmp_path / "file").touch()
    played = play(7, "one", OFFBEAT_RING_DIR=str(tmp_path / "file" / "rings")).ready()
    assert played.said["mask"] == 0
    assert played.finish() == (0, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"OFFBEAT_JOB": "a b/ü!", "OFFBEAT_ATTEMPT": "7", "LOCAL_RANK": "1"}, ("a-b-", 7, 3, 8, 1)),
        ({"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "h0", "MASTER_PORT": "29500"}, ("torch-h0-29500", 0, 3, 8, -1)),
        ({"TORCHELASTIC_RUN_ID": "run", "TORCHELASTIC_RESTART_COUNT": "2"}, ("run", 2, 3, 8, -1)),
        ({"RANK": "x", "OMPI_COMM_WORLD_RANK": "5", "WORLD_SIZE": "99999999999"}, ("torch-job", 0, 5, -1, -1)),
    ],
)
def test_identity(play, given, expected):
    """Job, attempt and rank are what the agent would make of the same variables."""
    header = play(4, "one", **given).ready().read()[0].header
    assert (header.job, header.attempt, header.rank, header.world, header.local_rank) == expected
    from offbeat.collector.identity import identity  # noqa: PLC0415 - beside what it is compared with

    same = identity({"RANK": "3", "WORLD_SIZE": "8"} | given)
    assert (same.job, same.attempt, same.rank, same.world, same.local_rank) == expected


def test_dead_rings_are_swept(play, tmp_path):
    """A ring of ours whose process is gone, and that nobody came for in an hour, makes room; others stay."""
    rings = tmp_path / "shared"
    rings.mkdir()
    inside = Path("/proc/self/ns/pid").stat().st_ino
    names = {
        "old": f"{inside}-999999999-1-nccl.ring",
        "new": f"{inside}-999999998-1.ring",
        "foreign": "1-2-3-nccl.ring",
    }
    for name in names.values():
        (rings / name).touch()
    for name in ("old", "foreign"):
        os.utime(rings / names[name], (1, 1))
    play(7, "one", OFFBEAT_RING_DIR=str(rings)).ready()
    assert {path.name for path in discover(rings)} & set(names.values()) == {names["new"], names["foreign"]}


def test_ring_directory_is_open_to_other_users(play, tmp_path):
    """Below a directory that is everybody's, the ring directory is too, as the torch recorder makes it."""
    shared = tmp_path / "shm"
    shared.mkdir()
    shared.chmod(0o1777)
    play(7, "one", OFFBEAT_RING_DIR=str(shared / "offbeat")).ready()
    assert (shared / "offbeat").stat().st_mode & 0o7777 == 0o1777


def test_exports(plugin):
    """Four versions are offered and nothing else that could clash with a name of the program."""
    library = ctypes.CDLL(str(plugin))
    for version in range(1, 10):
        assert hasattr(library, f"ncclProfiler_v{version}") == (version in VERSIONS)
    assert not any(hasattr(library, name) for name in ("ring", "now", "call_init", "word_of", "communicator_of"))
