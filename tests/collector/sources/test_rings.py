"""The rings of real processes, from their discovery to their removal."""

import os
import signal
import time

import pytest
from support import wait_until

from offbeat.collector.ring.reader import RingReader, reap
from offbeat.collector.ring.writer import RingWriter
from offbeat.collector.source import NoData
from offbeat.collector.sources import rings as module
from offbeat.collector.sources.rings import RingsSource

COMM = "default_pg@0123abcd"


class Readings:
    """A source and all that it has said."""

    def __init__(self, directory, **options):
        self.source = RingsSource("node1", directory, **options)
        self.rows = {}

    def read(self):
        """Read once; return self."""
        try:
            tables = self.source.read()
        except NoData:
            return self
        for name, table in tables.items():
            self.rows.setdefault(name, []).extend(table.to_pylist())
        return self

    def of(self, table, **equal):
        """Return the rows of a table with these values."""
        return [row for row in self.rows.get(table, []) if all(row[key] == value for key, value in equal.items())]


@pytest.fixture
def readings(ring_dir):
    """Return an empty record of readings."""
    return Readings(ring_dir)


def test_empty_directory(tmp_path):
    """Without a directory, or with an empty one, there is no data."""
    for directory in (tmp_path / "absent", tmp_path):
        with pytest.raises(NoData):
            RingsSource("node1", directory).read()


def test_operations_of_several_ranks(trainer, readings):
    """Completed operations of all ranks come in one table, once each, with all that the recorder knew."""
    before = time.time_ns()
    trainers = [trainer(rank=rank, world=2) for rank in (0, 1)]
    for child in trainers:
        child.do("ops 5")
    readings.read()
    rows = readings.of("collectives")
    assert sorted((row["rank"], row["seq"]) for row in rows) == [(rank, seq) for rank in (0, 1) for seq in range(5)]
    for row in rows:
        assert (row["job"], row["attempt"], row["comm"], row["op"]) == ("job-1", 3, COMM, "all_reduce")
        assert (row["state"], row["nbytes"], row["native_op"]) == ("completed", 4096, "allreduce")
        assert (row["dtype"], row["redop"], row["clock"], row["source"]) == ("float32", "sum", "cpu", "torch")
        assert before < row["enqueued_at"] <= row["ended_at"] <= row["observed_at"] <= time.time_ns()
        assert (
            row["peer"] is row["root"] is row["p2p_seq"] is row["fn_seq"] is row["started_at"] is row["stream"] is None
        )
    readings.read()
    assert len(readings.of("collectives")) == 10


def test_open_operations_come_at_every_reading(trainer, readings):
    """What is in flight is told again and again, each time as seen then, until it ends."""
    child = trainer()
    child.do("ops 2")
    child.do("open")
    for _ in range(3):
        readings.read()
    rows = readings.of("collectives", seq=2)
    assert [(row["state"], row["ended_at"], row["nbytes"]) for row in rows] == [("enqueued", None, 8192)] * 3
    assert len({row["observed_at"] for row in rows}) == 3
    assert len({row["enqueued_at"] for row in rows}) == 1


def test_operation_that_failed(trainer, readings):
    """An operation that ended with an error has an end, but is not called completed."""
    trainer().do("fail")
    (row,) = readings.read().of("collectives")
    assert row["state"] == "unknown"
    assert row["ended_at"] is not None


def test_ranks_and_memberships(trainer, readings, monkeypatch):
    """Who a process is and which groups it is in is told once, and again after a while."""
    child = trainer(rank=1, world=4)
    child.do("ops 1")
    for _ in range(3):
        readings.read()
    (rank,) = readings.of("ranks")
    assert (rank["rank"], rank["host"], rank["pid"], rank["job"], rank["attempt"]) == (
        1,
        "node1",
        child.pid,
        "job-1",
        3,
    )
    assert abs(rank["valid_from"] - time.time_ns()) < 60e9
    (member,) = readings.of("memberships")
    assert (member["comm"], member["name"], member["comm_rank"], member["n_ranks"]) == (COMM, "default_pg", 1, 4)
    assert (member["rank"], member["host"], member["pid"], member["members"]) == (1, "node1", child.pid, [0, 1, 2, 3])
    assert abs(member["created_at"] - time.time_ns()) < 60e9
    (job,) = readings.of("jobs")
    assert (job["job"], job["world"], job["simulated"]) == ("job-1", 4, False)
    monkeypatch.setattr(module, "TELL_AGAIN_NS", 0)
    readings.read()
    assert [len(readings.of(table)) for table in ("ranks", "memberships", "jobs")] == [2, 2, 2]


def test_rank_that_is_not_known_yet(trainer, readings):
    """A process that has not joined its job is nobody's rank; when it has, it is told."""
    child = trainer(rank=-1)
    child.do("note hello")
    readings.read()
    assert readings.of("ranks") == []
    assert [rank.rank for rank in readings.source.ranks()] == [-1]
    (note,) = readings.of("events", kind="recorder_note")
    assert (note["rank"], note["job"], note["message"]) == (None, None, "note: hello")
    child.do("rank 1")
    child.do("ops 1")
    readings.read()
    assert [row["rank"] for row in readings.of("ranks")] == [1]
    assert [row["rank"] for row in readings.of("collectives")] == [1]


def test_samples_and_messages(trainer, readings):
    """Stack samples and exceptions of the recorder come with their own times."""
    child = trainer(rank=1)
    child.do("sample train.py:12 load")
    child.do("exception ValueError: bad shape")
    readings.read()
    (sample,) = readings.of("samples")
    assert (sample["rank"], sample["kind"], sample["where"], sample["n"]) == (1, "data", "train.py:12 load", 7)
    assert abs(sample["at"] - time.time_ns()) < 60e9
    (event,) = readings.of("events")
    assert (event["kind"], event["message"], event["rank"], event["code"]) == (
        "exception",
        "ValueError: bad shape",
        1,
        None,
    )
    assert abs(event["at"] - time.time_ns()) < 60e9


def test_announced_phases_are_spans(trainer, readings):
    """What the program does on purpose comes when it begins, and again with its end."""
    child = trainer(rank=1)
    child.do("phase begin 4 eval")
    readings.read()
    child.do("phase end 4 eval")
    readings.read()
    begun, ended = readings.of("spans")
    assert (begun["rank"], begun["kind"], begun["ended_at"]) == (1, "eval", None)
    assert ended["started_at"] == begun["started_at"] <= ended["ended_at"]
    assert readings.of("events") == []


def test_two_recorders_in_one_process(tmp_path):
    """Two rings of one process are one rank; the recorder that does not know its rank learns it from the other."""
    torch, nccl = RingWriter(tmp_path), RingWriter(tmp_path, source="nccl")
    torch.identify(job="j", attempt=0, rank=6, world=8, local_rank=6)
    comm = nccl.communicator("0x1", "", 2, ())
    nccl.end(nccl.start(nccl.signature(comm, "all_gather"), 8, 0))
    readings = Readings(tmp_path).read().read()
    assert [(rank.job, rank.rank, rank.pid) for rank in readings.source.ranks()] == [("j", 6, os.getpid())]
    (row,) = readings.of("collectives")
    assert (row["job"], row["rank"], row["source"], row["comm"]) == ("j", 6, "nccl", "0x1")
    (member,) = readings.of("memberships")
    assert (member["rank"], member["members"]) == (6, None)
    torch.close()
    nccl.close()


def test_recorder_below_torch_takes_the_identity_that_torch_agreed_on(tmp_path):
    """What NCCL's recorder knows of its launcher holds until torch's says which start of the job this is."""
    nccl = RingWriter(tmp_path, source="nccl")
    nccl.identify(job="launcher", attempt=0, rank=6, world=8, local_rank=6)
    comm = nccl.communicator("0x1", "", 2, ())
    readings = Readings(tmp_path).read()
    assert [(row["job"], row["attempt"]) for row in readings.of("memberships")] == [("launcher", 0)]
    torch = RingWriter(tmp_path)
    readings.read()
    torch.identify(job="j", attempt=1234, rank=6, world=8, local_rank=6)
    nccl.end(nccl.start(nccl.signature(comm, "all_gather"), 8, 0))
    readings.read().read()
    assert [(row["job"], row["attempt"]) for row in readings.of("collectives")] == [("j", 1234)]
    assert [(row["job"], row["attempt"]) for row in readings.of("memberships")] == [("launcher", 0), ("j", 1234)]
    torch.close()
    nccl.close()


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 3", 3), (signal.SIGKILL, -9), (signal.SIGSEGV, -11)]
)
def test_end_of_a_process(trainer, readings, command, code):
    """The end of a process is one event with its code or signal and its last exception, at the next reading."""
    child = trainer(rank=1)
    child.do("ops 3")
    readings.read()
    child.do("exception RuntimeError: boom")
    if isinstance(command, str):
        child.tell(command)
    else:
        os.kill(child.pid, command)
    child.process.wait()
    readings.read()
    (event,) = readings.of("events", kind="process_exit")
    assert (event["rank"], event["code"], event["message"]) == (1, code, "RuntimeError: boom")
    assert (event["job"], event["attempt"], event["device_kind"], event["device_id"]) == (
        "job-1",
        3,
        "process",
        str(child.pid),
    )
    assert readings.source.ranks() == []
    for _ in range(3):
        readings.read()
    assert len(readings.of("events", kind="process_exit")) == 1


def test_first_death_has_the_first_time(trainer, readings):
    """Of processes that end between two readings, the one that others died of comes first, by its last sign of life."""
    first, second = trainer(rank=0), trainer(rank=1)
    for child in (first, second):
        child.do("ops 1")
    readings.read()
    first.do("ops 1")
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    killed = time.time_ns()
    second.do("exception RuntimeError: Connection reset by peer")
    second.do("mark 1")
    second.tell("exit 1")
    second.process.wait()
    readings.read()
    events = readings.of("events", kind="process_exit")
    assert [row["rank"] for row in sorted(events, key=lambda row: row["at"])] == [0, 1]
    (death,) = [row for row in events if row["rank"] == 0]
    assert killed - 60e9 < death["at"] <= killed
    assert death["at"] >= max(row["ended_at"] for row in readings.of("collectives", rank=0))


def test_what_was_in_flight_at_the_end(trainer, readings):
    """Everything that a killed process left in its ring is told, what was in flight too, before the ring may go."""
    child = trainer()
    child.do("ops 7")
    child.do("open")
    os.kill(child.pid, signal.SIGKILL)
    child.process.wait()
    readings.read()
    rows = readings.of("collectives")
    assert [row["seq"] for row in rows if row["state"] == "completed"] == list(range(7))
    assert [row["seq"] for row in rows if row["state"] == "enqueued"] == [7]
    (path,) = readings.source.take_finished()
    assert path.exists()
    assert readings.source.take_finished() == []
    assert reap(path)
    readings.read()
    assert len(readings.of("collectives")) == 8


def test_ring_of_a_process_that_ended_before(trainer, ring_dir):
    """A ring whose process had ended before the agent came is read out like any other; the mark says how it ended."""
    child = trainer(rank=1)
    child.do("ops 4")
    child.do("mark 5")
    child.tell("exit 5")
    child.process.wait()
    readings = Readings(ring_dir).read()
    assert len(readings.of("collectives")) == 4
    (event,) = readings.of("events")
    assert (event["kind"], event["code"], event["rank"]) == ("process_exit", 5, 1)
    assert abs(event["at"] - time.time_ns()) < 60e9
    assert len(readings.source.take_finished()) == 1


def test_overwritten_records_are_counted(trainer, readings, ring_dir):
    """Operations that the ring overwrote before they were read are counted."""
    child = trainer()
    child.do("ops 1")
    readings.read()
    child.do("ops 5000")
    readings.read()
    assert readings.source.overwritten() > 0
    assert len(readings.of("collectives")) + readings.source.overwritten() == 5001


def test_file_that_is_no_ring(ring_dir, readings, trainer, capsys):
    """A file that only looks like a ring is said once and disturbs nobody, nor does one that is cut off later."""
    (ring_dir / "1-2-3.ring").write_bytes(b"nonsense" * 1000)
    (ring_dir / "4-5-6.ring").symlink_to("/etc/passwd")
    good, bad = trainer(rank=0), trainer(rank=1)
    for child in (good, bad):
        child.do("ops 1")
    readings.read()
    assert len(readings.of("collectives")) == 2
    (path,) = [path for path in ring_dir.glob("*.ring") if f"-{bad.pid}-" in path.name]
    os.truncate(path, 5000)
    good.do("ops 1")
    for _ in range(3):
        readings.read()
    assert len(readings.of("collectives")) == 3
    assert readings.source.counts["unreadable"] == 3
    assert capsys.readouterr().out.count("cannot be read") == 3
    assert [rank.rank for rank in readings.source.ranks()] == [0]


def test_copy_of_a_ring(ring_dir, readings, trainer, capsys):
    """A ring counts once: under its own name, not under that of another process or source."""
    child = trainer()
    child.do("ops 1")
    (path,) = ring_dir.glob("*.ring")
    os.link(path, ring_dir / "1-2-3.ring")
    (ring_dir / f"{path.stem}-other.ring").write_bytes(path.read_bytes())
    readings.read()
    assert len(readings.of("collectives")) == 1
    assert capsys.readouterr().out.count("not the ring that its name tells of") == 2


def test_more_rings_than_are_followed(readings, trainer, monkeypatch):
    """A ring too many is left alone until there is a place for it."""
    monkeypatch.setattr(module, "MAX_RINGS", 1)
    monkeypatch.setattr(module, "RETRY_NS", 0)
    children = [trainer(rank=0), trainer(rank=1)]
    for child in children:
        child.do("ops 1")
    readings.read()
    assert len(readings.of("collectives")) == 1
    followed = readings.source.ranks()[0].rank
    os.kill(children[followed].pid, signal.SIGKILL)
    wait_until(lambda: len(readings.read().of("collectives")) == 2)


def _namespaces(root, own, first):
    for name, inode_of in (("self", own), ("1", first)):
        path = root / name / "ns" / "net"
        path.parent.mkdir(parents=True)
        if inode_of is not None:
            path.symlink_to(inode_of)
    return root


def test_rings_of_other_network_namespaces(tmp_path, ring_dir, trainer):
    """An agent in a network namespace of its own takes only rings of that namespace; one in the first takes all."""
    child = trainer()
    child.do("ops 1")
    own, other = "/proc/self/ns/net", "/proc/self/ns/pid"
    cases = {
        "first": (other, other, 1),
        "same as the trainer": (own, other, 1),
        "another": (other, own, 0),
        "nobody may look": (other, None, 1),
    }
    for name, (mine, first, rows) in cases.items():
        readings = Readings(ring_dir, proc=_namespaces(tmp_path / name, mine, first)).read()
        assert len(readings.of("collectives")) == rows, name
        assert len(readings.source.ranks()) == rows, name


def test_ring_is_not_held_up_by_a_stopped_process(trainer, readings):
    """A stopped process's ring is read all the same."""
    child = trainer()
    child.do("ops 2")
    child.do("open")
    os.kill(child.pid, signal.SIGSTOP)
    readings.read()
    assert len(readings.of("collectives")) == 3
    os.kill(child.pid, signal.SIGCONT)


def test_another_source_of_truth_agrees(trainer, readings, ring_dir):
    """The times of rows are those of the ring, moved to Unix time by the writer's own pair of clocks."""
    child = trainer()
    child.do("ops 3")
    readings.read()
    with RingReader(next(ring_dir.glob("*.ring"))) as reader:
        found = wait_until(reader.poll)
        ended = found.completed["ended"] + (found.clock[1] - found.clock[0])
    assert [row["ended_at"] for row in readings.of("collectives")] == pytest.approx(ended.tolist(), abs=2e6)
