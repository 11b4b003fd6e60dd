"""Telemetry: what is accepted is there, once, whatever fails."""

import threading

import pytest
from batches import T0, gauges, heartbeat, send, values
from support import wait_until

from offbeat import records
from offbeat.records import RecordError
from offbeat.store import HostClaimedError, Receipt, UnavailableError, catalogue
from offbeat.store.engine import Database
from offbeat.store.telemetry import Telemetry

SECOND = 1_000_000_000


@pytest.fixture
def telemetry(store, monkeypatch):
    """Give the telemetry of an empty store that seals and merges only when told."""
    monkeypatch.setattr("offbeat.store.telemetry._TICK_SECONDS", 3600)
    return store.telemetry


def test_accepted_records_are_read_at_once_and_after_sealing(telemetry):
    """A batch is readable as soon as it is accepted; sealing changes where it is, not what is read."""
    assert send(telemetry, 1, gauges([1, 2])) == Receipt(1, duplicate=False)
    assert values(telemetry.read("gauges")) == [1, 2]
    telemetry.seal()
    assert values(telemetry.read("gauges")) == [1, 2]
    send(telemetry, 2, gauges([3]))
    assert values(telemetry.read("gauges", job="train", attempt=1)) == [1, 2, 3]
    assert telemetry.read("gauges").schema.equals(records.schema("gauges"))


@pytest.mark.parametrize("sealed", [False, True])
def test_the_same_batch_again_is_a_no_op(telemetry, sealed):
    """A repeated batch is answered as a duplicate and stored once, before and after its log was sealed."""
    send(telemetry, 1, gauges([1]))
    if sealed:
        telemetry.seal()
    assert send(telemetry, 1, gauges([1])) == Receipt(1, duplicate=True)
    assert values(telemetry.read("gauges")) == [1]


def test_batches_may_come_out_of_order(telemetry):
    """What comes early is stored; `durable` waits for the gap to close."""
    assert send(telemetry, 3, gauges([3])).durable == 0
    assert send(telemetry, 1, gauges([1])).durable == 1
    assert send(telemetry, 2, {}).durable == 3
    assert values(telemetry.read("gauges")) == [1, 3]


@pytest.mark.parametrize("sealed", [False, True])
def test_reading_by_job_attempt_and_time(telemetry, sealed):
    """Each limit leaves out what lies outside it."""
    send(telemetry, 1, gauges(range(10), at=T0, step=SECOND))
    send(telemetry, 2, gauges([100], attempt=2, at=T0 + 3 * SECOND))
    send(telemetry, 3, gauges([200], job="other", at=T0 + 3 * SECOND))
    send(
        telemetry, 4, {"ranks": records.build("ranks", {"job": ["train"], "attempt": [1], "rank": [0], "host": ["n"]})}
    )
    if sealed:
        telemetry.seal()
    assert values(telemetry.read("gauges", job="other")) == [200]
    assert values(telemetry.read("gauges", job="train", attempt=2)) == [100]
    found = telemetry.read("gauges", job="train", since=T0 + 3 * SECOND, until=T0 + 5 * SECOND)
    assert values(found) == [3, 4, 100]
    assert telemetry.read("gauges", job="nobody").num_rows == 0
    assert telemetry.read("events").num_rows == 0
    assert telemetry.read("ranks", since=T0 + 900 * SECOND).num_rows == 1


def test_many_threads_many_agents(telemetry):
    """Agents that send at the same time each get the receipts of their own batches, and nothing is lost."""
    receipts = {}

    def run(host):
        receipts[host] = [send(telemetry, n, gauges([n], host=host), host=host).durable for n in range(1, 21)]

    threads = [threading.Thread(target=run, args=(f"node{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        telemetry.seal()
    for thread in threads:
        thread.join()
    assert receipts == {f"node{n}": list(range(1, 21)) for n in range(6)}
    assert values(telemetry.read("gauges")) == sorted(list(range(1, 21)) * 6)


def test_readers_see_each_row_once_while_it_is_sealed_and_merged(telemetry, monkeypatch):
    """Rows moving from log to segment to larger segment are never missing and never double."""
    monkeypatch.setattr(catalogue, "MERGE_FILES", 3)
    counts, done = set(), threading.Event()
    send(telemetry, 1, gauges([0]))

    def watch():
        while not done.is_set():
            before = sent[0]
            found = values(telemetry.read("gauges"))
            counts.add(found == list(range(len(found))) and len(found) >= before)

    sent = [1]
    readers = [threading.Thread(target=watch) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 25):
        send(telemetry, n + 1, gauges([n]))
        sent[0] = n + 1
        telemetry.seal()
        while telemetry._sealer.merge():
            pass
    done.set()
    for reader in readers:
        reader.join()
    assert counts == {True}


def test_small_segments_become_few(telemetry, tmp_path, monkeypatch):
    """Merging leaves the rows and takes away files; jobs stay apart."""
    monkeypatch.setattr(catalogue, "MERGE_FILES", 4)
    for n in range(1, 17):
        send(telemetry, n, gauges([n], job="ab"[n % 2]))
        telemetry.seal()
    while telemetry._sealer.merge():
        pass
    assert len(list((tmp_path / "data" / "segments").iterdir())) == 1
    assert values(telemetry.read("gauges")) == list(range(1, 17))
    assert values(telemetry.read("gauges", job="a")) == list(range(2, 17, 2))


def test_a_merge_is_bounded(telemetry, tmp_path, monkeypatch):
    """Files too large to be brought together stay as they are, and merging comes to an end."""
    monkeypatch.setattr(catalogue, "MERGE_FILES", 2)
    monkeypatch.setattr(catalogue, "MERGE_ROWS", 5)
    for n in range(1, 6):
        send(telemetry, n, gauges([n] * 4))
        telemetry.seal()
    while telemetry._sealer.merge():
        pass
    assert len(list((tmp_path / "data" / "segments").iterdir())) == 5
    assert telemetry.read("gauges").num_rows == 20


def test_a_damaged_segment_does_not_stop_merging(telemetry, tmp_path, monkeypatch):
    """A file that cannot be read is left where it is; the others are merged."""
    monkeypatch.setattr(catalogue, "MERGE_FILES", 3)
    directory = tmp_path / "data" / "segments"
    for n in range(1, 4):
        send(telemetry, n, gauges([n]))
        telemetry.seal()
    next(directory.iterdir()).write_bytes(b"not parquet at all")
    while telemetry._sealer.merge():
        pass
    send(telemetry, 4, gauges([4]))
    telemetry.seal()
    while telemetry._sealer.merge():
        pass
    assert len(list(directory.iterdir())) == 2


def test_expiry_deletes_by_time_of_receipt(telemetry, clock, tmp_path):
    """Old segments go, whatever times their records claim; what describes a job stays while the job is measured."""
    ranks = {"ranks": records.build("ranks", {"job": ["train", "gone"], "rank": [0, 0], "host": ["n", "n"]})}
    send(telemetry, 1, {**gauges([1], at=T0 + 10**18), **ranks})
    telemetry.seal()
    clock.tick(100)
    send(telemetry, 2, gauges([2], at=5))
    telemetry.seal()
    assert telemetry.expire(clock.now - SECOND) == 1
    assert values(telemetry.read("gauges")) == [2]
    assert telemetry.read("ranks").num_rows == 2
    clock.tick(100)
    assert telemetry.expire(clock.now) == 2
    assert telemetry.read("ranks").num_rows == 0
    assert list((tmp_path / "data" / "segments").iterdir()) == []


def test_expiry_takes_files_that_nobody_knows(telemetry, tmp_path):
    """A file left by a process killed before it was catalogued goes with its age; a young one may yet be entered."""
    stray = tmp_path / "data" / "segments" / "gauges-stray.parquet"
    stray.write_bytes(b"x")
    telemetry.expire(stray.stat().st_mtime_ns)
    assert stray.exists()
    telemetry.expire(stray.stat().st_mtime_ns + 1)
    assert not stray.exists()


def test_two_agents_that_claim_one_host(store, clock):
    """The older agent is refused with a reason and nothing of it is stored; what it had spooled before is taken."""
    older, newer = clock.now, clock.now + 60 * SECOND
    send(store.telemetry, 1, heartbeat(clock.now, older), incarnation=older)
    clock.tick(80)
    send(store.telemetry, 1, heartbeat(clock.now, newer), incarnation=newer)
    assert store.nodes.conflict("node1") is None
    with pytest.raises(HostClaimedError, match=f"'node1' is claimed.*{newer}"):
        send(store.telemetry, 2, heartbeat(clock.now, older), incarnation=older)
    conflict = store.nodes.conflict("node1")
    assert (conflict.taken, conflict.refused, conflict.at) == (newer, older, clock.now)
    assert store.telemetry.read("heartbeats").num_rows == 2
    assert send(store.telemetry, 2, heartbeat(newer - SECOND, older), incarnation=older).durable == 2
    clock.tick(120)
    assert store.nodes.conflict("node1") is None


@pytest.mark.parametrize(
    ("host", "incarnation", "n", "tables"),
    [
        ("node1", T0, 0, {}),
        ("node1", T0, 1 << 63, {}),
        ("node1", -1, 1, {}),
        ("n" * 256, T0, 1, {}),
        ("node\0", T0, 1, {}),
        ("node1", T0, 1, gauges([1], job="j" * 256)),
        ("node1", T0, 1, gauges([1], job="\0")),
    ],
)
def test_what_no_database_could_hold_is_refused(telemetry, host, incarnation, n, tables):
    """Ids and names out of bounds are the sender's error, and do not hurt the batches around them."""
    with pytest.raises(RecordError):
        send(telemetry, n, tables, host=host, incarnation=incarnation)
    assert send(telemetry, 1, gauges([1])).durable == 1


def test_a_disk_that_fails_loses_nothing(telemetry, monkeypatch):
    """While the disk refuses, batches are refused and what was accepted is readable; then all goes on."""
    send(telemetry, 1, gauges([1]))

    def refuse(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", refuse)
        with pytest.raises(UnavailableError, match="No space left"):
            send(telemetry, 2, gauges([2]))
        assert values(telemetry.read("gauges")) == [1]
        with monkeypatch.context() as worse:
            worse.setattr("os.fsync", refuse)
            with pytest.raises(OSError, match="No space left"):
                telemetry.seal()
    assert values(telemetry.read("gauges")) == [1]
    # The failed batch may or may not have reached the log; sent again it is there once.
    assert send(telemetry, 2, gauges([2])).durable == 2
    telemetry.seal()
    assert values(telemetry.read("gauges")) == [1, 2]


@pytest.mark.parametrize("committed", [False, True])
def test_a_database_that_fails_at_the_commit_loses_nothing(telemetry, database, monkeypatch, committed):
    """If a commit's answer is lost, the batch sent again is stored once, whether or not the commit took place."""
    send(telemetry, 1, gauges([1]))
    commit = database.engine.dialect.do_commit

    def fail(connection):
        if committed:
            commit(connection)
        raise database.engine.dialect.dbapi.OperationalError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(database.engine.dialect, "do_commit", fail)
        with pytest.raises(UnavailableError, match="connection lost"):
            send(telemetry, 2, gauges([2]))
    assert send(telemetry, 2, gauges([2])).durable == 2
    telemetry.seal()
    assert values(telemetry.read("gauges")) == [1, 2]
    assert send(telemetry, 3, gauges([3])).durable == 3


@pytest.mark.parametrize("committed", [False, True])
def test_a_database_that_fails_at_sealing_loses_nothing(telemetry, database, monkeypatch, committed):
    """If the answer to the commit of a sealed log is lost, its rows are there once, whether or not it took place."""
    send(telemetry, 1, gauges([1]))
    commit = database.engine.dialect.do_commit

    def fail(connection):
        if committed:
            commit(connection)
        raise database.engine.dialect.dbapi.OperationalError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(database.engine.dialect, "do_commit", fail)
        with pytest.raises(UnavailableError, match="connection lost"):
            telemetry.seal()
    telemetry.seal()
    assert values(telemetry.read("gauges")) == [1]


def test_reopening_seals_what_a_dead_process_left(database, clock, tmp_path, monkeypatch):
    """A log without a living writer is taken over at the next start."""
    first = Telemetry(database, tmp_path, clock)
    send(first, 1, gauges([1]))
    send(first, 3, gauges([3]))
    with monkeypatch.context() as patch:
        patch.setattr(first, "seal", lambda: None)  # what it leaves is what a killed process leaves
        first.close()
    second = Telemetry(database, tmp_path, clock)
    assert list((tmp_path / "log").iterdir()) == []
    assert values(second.read("gauges")) == [1, 3]
    assert send(second, 3, gauges([3])) == Receipt(1, duplicate=True)
    assert send(second, 2, gauges([2])) == Receipt(3, duplicate=False)
    second.close()


def test_a_living_processs_log_is_left_alone(database, clock, tmp_path):
    """Two processes may share a directory: neither takes what the other still writes."""
    first, second = Telemetry(database, tmp_path, clock), None
    send(first, 1, gauges([1]))
    second = Telemetry(database, tmp_path, clock)
    assert second.read("gauges").num_rows == 0
    assert send(second, 1, gauges([1])) == Receipt(1, duplicate=True)
    first.close()
    assert values(second.read("gauges")) == [1]
    second.close()


def test_two_services_on_one_database_store_each_batch_once(database, clock, tmp_path):
    """Agents may send the same batch to both at the same time: one stores it, both know it."""
    others = [Database(database.engine.url.render_as_string(hide_password=False)) for _ in range(2)]
    services = [Telemetry(other, tmp_path, clock) for other in others]
    fresh = []

    def run(service, numbers):
        fresh.extend(n for n in numbers if not send(service, n, gauges([n])).duplicate)

    orders = (range(1, 31), range(1, 31), range(30, 0, -1))
    threads = [threading.Thread(target=run, args=(service, order)) for service in services for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fresh) == list(range(1, 31))
    for service in services:
        assert send(service, 30, gauges([30])) == Receipt(30, duplicate=True)
        service.close()
    reader = Telemetry(database, tmp_path, clock)
    assert values(reader.read("gauges")) == list(range(1, 31))
    reader.close()
    for other in others:
        other.close()


def test_too_much_unsealed_telemetry_is_refused_until_it_is_sealed(telemetry, monkeypatch):
    """Memory is bounded: beyond it the agent keeps its batch and comes again."""
    monkeypatch.setattr("offbeat.store.telemetry.UNSEALED_BYTES", 10)
    monkeypatch.setattr("offbeat.store.telemetry.SEAL_SECONDS", 1e9)
    send(telemetry, 1, gauges([1]))
    with pytest.raises(UnavailableError, match="waits to be sealed"):
        send(telemetry, 2, gauges([2]))
    telemetry.seal()
    assert send(telemetry, 2, gauges([2])).durable == 2


def test_sealing_happens_by_itself(telemetry, tmp_path, monkeypatch):
    """A log that is old enough becomes segments without anybody asking."""
    monkeypatch.setattr("offbeat.store.telemetry.SEAL_SECONDS", 0.0)
    monkeypatch.setattr("offbeat.store.telemetry._TICK_SECONDS", 0.01)
    send(telemetry, 1, gauges([1]))
    wait_until(
        lambda: list((tmp_path / "data" / "segments").iterdir()) and not list((tmp_path / "data" / "log").iterdir())
    )
    assert values(telemetry.read("gauges")) == [1]


def test_a_closed_store_takes_nothing(telemetry):
    """After close a batch is refused, and what was accepted is sealed."""
    send(telemetry, 1, gauges([1]))
    telemetry.close()
    with pytest.raises(UnavailableError, match="closed"):
        send(telemetry, 2, gauges([2]))
    assert values(telemetry.read("gauges")) == [1]
