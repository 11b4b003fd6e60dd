"""Faults take effect on a real job, and are taken back."""

import subprocess
import time
from pathlib import Path

import pytest
from support import wait_until

from offbeat.cli.demo import faults
from offbeat.cli.demo.hosts import BedError, Host, PlainBed, lay_bed
from offbeat.cli.demo.job import Job, wait_for_steps
from offbeat.cli.demo.processes import Processes


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    """Give two hosts, as real as this machine allows."""
    bed = lay_bed(2, tmp_path_factory.mktemp("bed"))
    yield bed
    bed.close()


@pytest.fixture(scope="module")
def job(bed, tmp_path_factory):
    """Give a real job of four ranks that makes steps; nothing records it."""
    pytest.importorskip("torch")
    with Processes() as processes:
        job = Job("test", bed.hosts, 2, tmp_path_factory.mktemp("job"), processes, recorded=False)
        assert wait_for_steps(job, 10, 100), job.ranks[0].tail()
        yield job


def usual(job):
    """Return the step time now, from ten steps."""
    since = time.monotonic()
    wait_until(lambda: len([at for _, at in job.steps() if at > since]) > 10, 30)
    return job.step_seconds(since)


@pytest.mark.slow
def test_slow_rank_makes_steps_longer(job, bed):
    """One slow rank slows the whole job by about what it adds, and no more once it is taken back."""
    before, fault = usual(job), faults.slow_rank(job, 2)
    assert "rank 2" in fault.apply()
    during = usual(job)
    fault.undo()
    assert during > before + 0.02
    assert usual(job) < during
    assert fault.expected.ranks == {2}
    assert fault.expected.hosts == {bed.hosts[1].name}


@pytest.mark.slow
def test_slow_host_makes_steps_longer(job, bed):
    """A host that sends slowly slows the whole job; its interface is as before once it is taken back."""
    if isinstance(bed, PlainBed):
        pytest.skip(bed.description)
    host, before = bed.hosts[1], usual(job)
    fault = faults.slow_host(host, [2, 3])
    shown = ["tc", "-n", host.namespace, "qdisc", "show", "dev", host.interface]
    plain = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert host.name in fault.apply()
    during = usual(job)
    fault.undo()
    assert during > 1.3 * before
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == plain
    assert usual(job) < during


@pytest.mark.slow
def test_stopped_rank_stops_all_until_it_goes_on(job):
    """No step ends while one rank is stopped; when it goes on, so does the job."""
    fault = faults.stopped_rank(job, 3)
    fault.apply()
    stat = Path(f"/proc/{job.ranks[3].pid}/stat")
    wait_until(lambda: ") T " in stat.read_text(encoding="ascii"))
    steps = len(job.steps())
    fault.undo()
    wait_until(lambda: len(job.steps()) > steps + 5, 30)


@pytest.mark.slow
def test_killed_rank_ends_the_job(tmp_path):
    """The killed rank is gone at once, and the job does not survive it."""
    pytest.importorskip("torch")
    with Processes() as processes:
        hosts = PlainBed(2, tmp_path, "one job a bed").hosts
        job = Job("killed", hosts, 1, tmp_path / "job", processes, recorded=False)
        assert wait_for_steps(job, 5, 100), job.ranks[0].tail()
        fault = faults.killed_rank(job, 1)
        fault.apply()
        wait_until(lambda: job.ranks[1].exit_code == -9)
        wait_until(lambda: job.dead() == [0, 1], 30)
    assert fault.terminal


def test_a_host_without_a_network_of_its_own_is_never_slowed(tmp_path):
    """Nothing is done to the machine's own interfaces."""
    host = Host("node-0", "127.0.0.1", "lo", tmp_path, tmp_path)
    fault = faults.slow_host(host, [0])
    with pytest.raises(BedError, match="left alone"):
        fault.apply()
    fault.undo()


def test_the_next_queueing_discipline_is_tried(bed, monkeypatch):
    """A kernel without the first two gets the third, and it is really there."""
    host = bed.hosts[0]
    if host.namespace is None:
        pytest.skip(bed.description)
    monkeypatch.setattr(faults, "SHAPERS", (("nosuch", "", ()), ("neither", "", ()), faults.SHAPERS[2]))
    fault = faults.slow_host(host, [0, 1])
    try:
        said = fault.apply()
    except BedError as error:
        pytest.skip(f"no htb in this kernel: {error}")
    finally:
        fault.undo()
    assert "htb" in said
