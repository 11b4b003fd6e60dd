"""Recording a call, with a process group of our own making: nothing that goes wrong may reach the caller."""

import gc
import os

import pytest

from offbeat.collector.recorders import operations
from offbeat.collector.recorders.session import Session
from offbeat.collector.recorders.works import wrap_wait
from offbeat.collector.ring import layout
from offbeat.collector.ring.reader import RingReader
from offbeat.collector.ring.writer import RingWriter


class Tensor:
    """Eight bytes on the host or on a device."""

    dtype = "torch.float32"
    nbytes = 8

    def __init__(self, *, is_cpu=True):
        self.is_cpu = is_cpu


class Future:
    """A future that is done when the test says so."""

    def __init__(self):
        self.callbacks, self.error = [], None

    def add_done_callback(self, callback):
        """Keep a callback."""
        self.callbacks.append(callback)

    def value(self):
        """Raise the error, if there is one."""
        if self.error:
            raise self.error

    def finish(self, error=None):
        """End."""
        self.error = error
        for callback in self.callbacks:
            callback(self)


class Work:
    """What a launch returns."""

    def __init__(self, future):
        self.future = future

    def get_future(self):
        """Return the future, or fail as torch does where there is none."""
        if self.future is None:
            raise RuntimeError("not implemented")
        return self.future

    def wait(self, error=None):
        """Wait, or fail."""
        if error:
            raise error
        return True


class Options:
    """Options of a call."""

    rootRank = 1  # noqa: N815 - torch's names
    asyncOp = True  # noqa: N815 - torch's names


class Group:
    """A process group that torch does not know."""

    group_name = "mine"
    returns = None
    error = None

    def rank(self):
        """Return our rank in it."""
        return 1

    def size(self):
        """Return its size."""
        return 4

    def allreduce(self, *_, **__):
        """Launch."""
        if self.error:
            raise self.error
        return self.returns

    def broadcast(self, *_, **__):
        """Launch."""
        return self.returns

    def send(self, *_):
        """Launch."""
        return self.returns


@pytest.fixture
def session(tmp_path):
    """Return a session that records a class of process groups made for this test."""
    ring = RingWriter(tmp_path)
    session = Session(ring)

    class Recorded(Group):
        pass

    class RecordedWork(Work):
        pass

    operations.install(session, Recorded)
    session.replace(RecordedWork, "wait", lambda original: wrap_wait(session, original))
    session.pg, session.work = Recorded(), RecordedWork
    yield session
    ring.close()


def poll(session):
    """Return (state, flags, seq, p2p_seq) of what has ended, the number still open, and the notes."""
    with RingReader(session.ring.path) as reader:
        found = reader.poll()
    ended = [tuple(int(o[name]) for name in ("state", "flags", "seq", "p2p_seq")) for o in found.completed]
    return ended, len(found.open), [m.text for m in found.messages]


def test_future_tells_the_end(session):
    """An operation is open until its future is done; one whose future holds an error has failed."""
    futures = [Future(), Future()]
    for future in futures:
        session.pg.returns = session.work(future)
        assert session.pg.allreduce([Tensor()], Options()) is session.pg.returns
    assert poll(session) == ([], 2, [])
    futures[1].finish(OSError("reset"))
    futures[0].finish()
    assert poll(session) == ([(2, 1, 1, -1), (2, 0, 0, -1)], 0, [])


def test_wait_tells_the_end_where_torch_waits_at_once(session):
    """A synchronous operation ends when the wait is over, whichever way, and is kept alive no longer."""
    options = Options()
    options.asyncOp = False
    for error in (None, OSError()):
        session.pg.returns = session.work(None)
        work = session.pg.allreduce([Tensor()], options)
        assert poll(session)[1] == 1
        if error:
            with pytest.raises(OSError):
                work.wait(error)
        else:
            assert work.wait() is True
    assert poll(session) == ([(2, 0, 0, -1), (2, 1, 1, -1)], 0, [])
    assert session.works.waiting == {}


def test_work_without_future(session):
    """Point-to-point works end when somebody has waited, or unknown when they are dropped; numbers count per peer."""
    works = []
    for peer in (0, 2, 0):
        session.pg.returns = session.work(None)
        works.append(session.pg.send([Tensor()], peer, 0))
    works[0].wait()
    works[0].wait()
    with pytest.raises(OSError):
        works[1].wait(OSError())
    session.pg.returns = works = work = None
    gc.collect()
    assert work is None
    assert poll(session) == ([(2, 0, -1, 0), (2, 1, -1, 0), (3, 0, -1, 1)], 0, [])


def test_device_operations_end_unknown(session):
    """What runs on a device is only known to be queued, and a note says so, once."""
    for _ in range(2):
        session.pg.returns = session.work(Future())
        session.pg.allreduce([Tensor(is_cpu=False)], Options())
        session.pg.returns.future.finish()
    session.pg.returns = None
    session.pg.allreduce([Tensor()], Options())
    ended, still_open, notes = poll(session)
    assert [state for state, *_ in ended] == [layout.UNKNOWN] * 3
    assert still_open == 0
    assert len(notes) == 1


def test_refused_call_is_not_counted(session):
    """A call that raises was never launched: the caller gets its error, the next operation has its number."""
    session.pg.returns = session.work(Future())
    session.pg.error = TypeError("no")
    for arguments in (([Tensor()], Options()), ("nonsense",)):
        with pytest.raises(TypeError, match="no"):
            session.pg.allreduce(*arguments)
    session.pg.error = None
    session.pg.allreduce([Tensor()], Options())
    session.pg.returns.future.finish()
    assert poll(session) == ([(2, 0, 0, -1)], 0, [])
    assert session.guard.failures == 0


@pytest.mark.parametrize("part", ["start", "signature"])
def test_failure_of_ours_ends_the_recording_of_that_operation_only(session, part, monkeypatch):
    """When recording fails, the call goes through, a note says which operation is no longer seen, the others are."""
    monkeypatch.setattr(session.ring, part, lambda *_, **__: 1 / 0)
    session.pg.returns = session.work(Future())
    assert session.pg.allreduce([Tensor()], Options()) is session.pg.returns
    monkeypatch.undo()
    assert session.pg.allreduce([Tensor()], Options()) is session.pg.returns
    session.pg.broadcast([Tensor()], Options())
    session.pg.returns.future.finish()
    ended, still_open, notes = poll(session)
    assert (len(ended), still_open, session.guard.failures) == (1, 0, 1)
    assert notes == ["allreduce is no longer recorded: ZeroDivisionError: division by zero"]


def test_failure_after_the_launch(session, monkeypatch):
    """When the end cannot be followed, the caller still gets its work, and nothing is left open."""
    monkeypatch.setattr(session.works, "watch", lambda *_, **__: 1 / 0)
    session.pg.returns = session.work(Future())
    assert session.pg.allreduce([Tensor()], Options()) is session.pg.returns
    assert poll(session)[:2] == ([], 0)


def test_pause(session):
    """While recording is off, calls go through and count nothing."""
    session.on = False
    session.pg.returns = session.work(Future())
    assert session.pg.allreduce([Tensor()], Options()) is session.pg.returns
    session.on = True
    session.pg.allreduce([Tensor()], Options())
    assert poll(session)[:2] == ([], 1)
    assert session.groups.of(session.pg).seq == 1


def test_forked_child_records_nothing(session):
    """In a forked child calls go through unrecorded."""
    session.pg.returns = session.work(Future())
    pid = os.fork()
    if pid == 0:
        os._exit(0 if session.pg.allreduce([Tensor()], Options()) and not session.on else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert poll(session) == ([], 0, [])


def test_group_that_torch_does_not_know(session):
    """A group made by hand has a name and a size, and no members; once it is gone it is forgotten."""
    session.pg.returns = session.work(Future())
    session.pg.broadcast([Tensor()], Options())
    with RingReader(session.ring.path) as reader:
        (info,) = reader.poll().comms
    assert (info.name, info.comm_rank, info.n_ranks, info.members) == ("mine", 1, 4, ())
    assert info.comm.startswith("mine@")
    session.pg = None
    gc.collect()
    assert session.groups._known == {}


@pytest.mark.parametrize(
    ("payload", "nbytes"),
    [
        (None, 0),
        ([], 0),
        (Tensor(), 8),
        ([Tensor()], 8),
        ([Tensor(), Tensor()], 16),
        ([[Tensor(), Tensor()], [Tensor()]], 24),
    ],
)
def test_payload_is_the_sum_of_its_tensors(payload, nbytes):
    """However deep the lists, all tensors count."""
    assert operations.measure(payload)[0] == nbytes


def test_sparse_payload():
    """A sparse tensor counts as the dense one."""

    class Sparse(Tensor):
        @property
        def nbytes(self):
            raise RuntimeError("sparse")

        def numel(self):
            return 3

        def element_size(self):
            return 4

    assert operations.measure([Sparse()])[0] == 12
