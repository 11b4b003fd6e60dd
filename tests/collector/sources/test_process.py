"""The processes of ranks: their sums, their threads, and whether they stand still."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from support import wait_until

from offbeat.collector import schedule
from offbeat.collector.schedule import Schedule
from offbeat.collector.source import NoData
from offbeat.collector.sources.process import ProcessSource
from offbeat.collector.sources.states import StatesSource
from offbeat.collector.stillness import Stillness, StillnessTracker

BUSY = "import threading\nprint('up', flush=True)\nwhile True: pass"
IDLE = """
import sys, threading
threads = [threading.Thread(target=lambda: sys.stdin.readline(), daemon=True) for _ in range(3)]
[t.start() for t in threads]
print('up', flush=True)
threads[0].join()
"""
FREEZER = Path("/sys/fs/cgroup/freezer")


def values(source):
    """Return the gauges of one reading by metric."""
    return {row["metric"]: row["value"] for row in source.read()["gauges"].to_pylist()}


def started(process, code):
    """Start a program and wait until it is up."""
    found = process(code)
    assert found.stdout.readline() == "up\n"
    return found


def test_fields_of_a_copied_tree(host_tree, rank_of):
    """Each gauge comes from its own field; the name of a process may hold blanks and brackets."""
    source = ProcessSource("node1", lambda: [rank_of(77, 5)], StillnessTracker(), proc=host_tree / "proc")
    assert source.is_supported()
    table = source.read()["gauges"]
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert {row["metric"]: row["value"] for row in table.to_pylist()} == {
        "cpu_seconds": 200 / ticks,
        "rss_bytes": 2560.0 * page,
        "minor_faults": 500.0,
        "major_faults": 7.0,
        "stopped": 0.0,
        "uninterruptible": 0.0,
        "run_seconds": 3.0,
        "wait_seconds": 0.5,
    }
    owner = {
        (row["job"], row["attempt"], row["rank"], row["device_kind"], row["device_id"]) for row in table.to_pylist()
    }
    assert owner == {("job-1", 3, 5, "process", "77")}


def test_busy_process_runs(process, rank_of):
    """The processor time of a busy process grows, its run time with it."""
    busy = started(process, BUSY)
    source = ProcessSource("node1", lambda: [rank_of(busy.pid)], StillnessTracker())
    source.is_supported()
    first = values(source)
    later = wait_until(lambda: (found := values(source))["cpu_seconds"] > first["cpu_seconds"] + 0.05 and found)
    assert later["run_seconds"] > first["run_seconds"]
    assert later["rss_bytes"] > 1 << 20


def test_process_that_ended_is_left_out(process, rank_of):
    """A rank that has gone costs only its own rows."""
    gone, there = process("pass"), started(process, IDLE)
    gone.wait()
    source = ProcessSource("node1", lambda: [rank_of(gone.pid, 0), rank_of(there.pid, 1)], StillnessTracker())
    assert {row["rank"] for row in source.read()["gauges"].to_pylist()} == {1}
    source = ProcessSource("node1", lambda: [rank_of(gone.pid, 0)], StillnessTracker())
    with pytest.raises(NoData):
        source.read()


def test_time_of_threads_that_ended_still_counts(process, monkeypatch):
    """The sum over all threads never falls, though threads come and go, opened or not."""
    monkeypatch.setattr(schedule, "MAX_OPEN", 4)
    code = """
import sys, threading, time
def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until: pass
print('up', flush=True)
for line in sys.stdin:
    threads = [threading.Thread(target=burn, args=(0.02,)) for _ in range(6)]
    [t.start() for t in threads]
    print('started', flush=True)
    [t.join() for t in threads]
    print('done', flush=True)
"""
    child = started(process, code)
    times = Schedule(child.pid)
    last = times.read()[0]
    for _ in range(3):
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "started\n"
        for _ in range(10):
            now = times.read()[0]
            assert now >= last
            last = now
        assert child.stdout.readline() == "done\n"
    assert len(times._threads) <= 1 + 6
    open_files = sum(thread.descriptor >= 0 for thread in times._threads.values())
    assert open_files <= 4
    times.close()
    with pytest.raises(OSError, match="No such"):
        Schedule(2**22 + 1).read()


class Watch:
    """Looks at one process again and again, as the agent does."""

    def __init__(self, rank, tracker=None):
        self.tracker = tracker or StillnessTracker()
        self.source = StatesSource("node1", lambda: [rank], self.tracker)
        self.pid = rank.pid
        self.kinds = []
        self.at = []

    def look(self):
        """Look once; return what was found so far."""
        with contextlib.suppress(NoData):
            for row in self.source.read()["events"].to_pylist():
                self.kinds.append(row["kind"])
                self.at.append(row["at"])
                assert (row["job"], row["rank"], row["device_kind"]) == ("job-1", 0, "process")
        return self.kinds


def test_stopped_process_and_its_return(process, rank_of):
    """SIGSTOP is an event within two looks, with the time of the first; SIGCONT within one."""
    child = started(process, IDLE)
    watch = Watch(rank_of(child.pid))
    for _ in range(3):
        assert watch.look() == []
    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: "T" in Path(f"/proc/{child.pid}/stat").read_text())
    before = time.time_ns()
    assert watch.look() == []
    between = time.time_ns()
    assert watch.look() == ["process_stopped"]
    assert before <= watch.at[0] <= between
    assert watch.tracker.state(child.pid) is Stillness.STOPPED
    source = ProcessSource("node1", lambda: [rank_of(child.pid)], watch.tracker)
    assert values(source)["stopped"] == 1.0
    for _ in range(3):
        assert watch.look() == ["process_stopped"]
    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: watch.look() == ["process_stopped", "process_running"])
    assert values(source)["stopped"] == 0.0


def test_process_stopped_many_times_a_second_is_not_stopped(process, rank_of):
    """A process that runs between two looks is slow, not stopped, though both looks found it stopped."""
    child = started(process, BUSY)
    watch = Watch(rank_of(child.pid))
    for _ in range(3):
        ticks = _cpu(child.pid)
        wait_until(lambda ticks=ticks: _cpu(child.pid) > ticks)
        os.kill(child.pid, signal.SIGSTOP)
        wait_until(lambda: "T" in Path(f"/proc/{child.pid}/stat").read_text())
        assert watch.look() == []
        os.kill(child.pid, signal.SIGCONT)


def test_ended_process_raises_nothing(process, rank_of):
    """A process that ends between two looks gives no event of its own."""
    child = started(process, IDLE)
    watch = Watch(rank_of(child.pid))
    watch.look()
    child.kill()
    child.wait()
    assert watch.look() == []


@pytest.mark.skipif(
    os.geteuid() != 0 or not (FREEZER / "tasks").exists(), reason="needs root and the cgroup v1 freezer"
)
def test_frozen_process(process, rank_of):
    """A process frozen by its control group is stopped, though its threads show D; thawed, it runs."""
    child = started(process, IDLE)
    group = FREEZER / f"offbeat-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(child.pid))
        (group / "freezer.state").write_text("FROZEN")
    except OSError as error:
        pytest.skip(f"the freezer cannot be used: {error}")
    try:
        watch = Watch(rank_of(child.pid))
        wait_until(lambda: watch.look() == ["process_stopped"])
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: watch.look() == ["process_stopped", "process_running"])
    finally:
        (group / "freezer.state").write_text("THAWED")
        child.kill()
        child.wait()
        wait_until(lambda: _removed(group))


def _tree(root, states, cgroup="0::/\n", cpu=5):
    for index, state in enumerate(states):
        stat = f"77 (x) {state} 1 77 77 0 -1 0 0 0 0 0 {cpu} 0 0 0 20 0 2 0 42 0 0" + " 0" * 28 + "\n"
        path = root / f"proc/77/task/{77 + index}/stat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stat)
        if index == 0:
            (root / "proc/77/stat").write_text(stat)
    (root / "proc/77/cgroup").write_text(cgroup)


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ("SS", Stillness.RUNNING),
        ("RT", Stillness.RUNNING),
        ("TS", Stillness.RUNNING),
        ("TT", Stillness.STOPPED),
        ("tT", Stillness.STOPPED),
        ("TD", Stillness.STOPPED),
        ("DD", Stillness.UNINTERRUPTIBLE),
        ("DS", Stillness.RUNNING),
        ("ZZ", Stillness.RUNNING),
    ],
)
def test_states_of_all_threads_count(tmp_path, states, found):
    """A process stands still when all of its threads do."""
    _tree(tmp_path, states)
    tracker = StillnessTracker(proc=tmp_path / "proc", sys=tmp_path / "sys")
    tracker.look(77, 1)
    tracker.look(77, 2)
    assert tracker.state(77) is found


@pytest.mark.parametrize(
    ("states", "cgroup", "file", "text"),
    [
        ("SS", "0::/job\n", "job/cgroup.events", "populated 1\nfrozen 1\n"),
        ("SS", "5:cpu:/\n0::/job\n", "unified/job/cgroup.events", "populated 1\nfrozen 1\n"),
        ("DD", "6:freezer:/bed-3\n0::/\n", "freezer/bed-3/freezer.state", "FROZEN\n"),
    ],
)
def test_frozen_by_either_version(tmp_path, states, cgroup, file, text):
    """Both versions of control groups tell that they froze a process; thawed, it runs or waits as it did."""
    _tree(tmp_path, states, cgroup)
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    tracker = StillnessTracker(proc=tmp_path / "proc", sys=tmp_path / "sys")
    assert tracker.look(77, 1) is None
    assert tracker.look(77, 2) == (Stillness.STOPPED, 1)
    path.write_text("populated 1\nfrozen 0\n" if "events" in file else "THAWED\n")
    tracker.look(77, 3)
    tracker.look(77, 4)
    assert tracker.state(77) is not Stillness.STOPPED


def _cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _removed(group):
    try:
        group.rmdir()
    except OSError:
        return False
    return True
